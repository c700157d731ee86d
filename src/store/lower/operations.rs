//! The operations: what may be asked about them, and where it stands.

use std::sync::LazyLock;

use super::columns::{Columns, Form};
use crate::domain::{OperationState, Phase, Status, StepState};

use crate::odata::{Model, Type};

/// The properties of an operation, as they stand in answers.
///
/// `stepCounts` has every state, 0 where answers leave it out. `error/message` holds the reasons
/// that the failed steps gave, without the sentence that answers put around them. `result`,
/// `resourceLocation`, `error/target` and `error/details` can be shown but not be asked about: they
/// come to be outside of the database.
#[must_use]
pub fn operation_model() -> &'static Model {
    static MODEL: LazyLock<Model> = LazyLock::new(|| {
        let states = OperationState::ALL.map(OperationState::name);
        let statuses = Status::ALL.map(Status::name);
        let error = Model::new()
            .nullable("code", Type::String)
            .nullable("message", Type::String)
            .nullable("target", Type::String)
            .nullable("details", Type::Json);
        let counts = StepState::DEFAULT
            .into_iter()
            .fold(Model::new(), |counts, state| counts.property(state.name(), Type::Int));
        Model::new()
            .property("id", Type::String)
            .property("category", Type::String)
            .property("name", Type::String)
            .property("createdDateTime", Type::DateTimeOffset)
            .property("lastActionDateTime", Type::DateTimeOffset)
            .nullable("status", Type::enumeration("status", &statuses))
            .property("state", Type::enumeration("state", &states))
            .property("percentComplete", Type::Int)
            .property("paused", Type::Boolean)
            .property("awaitsAdmission", Type::Boolean)
            .nullable("forkedFrom", Type::String)
            .nullable("resourceLocation", Type::String)
            .nullable("result", Type::Json)
            .nullable("error", Type::object(error))
            .nullable("cancellation", Type::Json)
            .property("stepCounts", Type::object(counts))
            .property("labels", Type::Map)
            .property("attention", Type::Boolean)
            .nullable("context", Type::Json)
    });
    &MODEL
}

/// Where the properties of [`operation_model`] stand, in a query from `operation o`.
#[must_use]
pub fn operation_columns() -> &'static Columns {
    static COLUMNS: LazyLock<Columns> = LazyLock::new(|| {
        let data = |column| {
            format!(
                "(select {column} from operation_data d where d.operation = o.id and o.flags & 1 <> 0)"
            )
        };
        let states = OperationState::ALL
            .into_iter()
            .map(|state| (state.name(), vec![state.code()]))
            .collect();
        let statuses = Status::ALL.into_iter().map(|status| {
            let states = OperationState::ALL.into_iter();
            let codes = states.filter(|state| state.status() == Some(status));
            (status.name(), codes.map(OperationState::code).collect())
        });
        let columns = Columns::new()
            .add("id", "o", Form::ShownId)
            // Not a plain constant: the planner must not compute what fails before it is reached.
            .value("category", "case when o.state >= 0 then 'jobsets' end")
            .value("name", "(select j.name from jobset j where j.id = o.jobset)")
            .add("createdDateTime", "o.id", Form::IdTime)
            .value("lastActionDateTime", "date_trunc('milliseconds', o.entered)")
            .add("status", OUTCOME, Form::Codes(statuses.collect()))
            .add("state", "o.state", Form::Codes(states))
            .value("percentComplete", percent_complete())
            .value("paused", "o.flags & 4 <> 0")
            .value("awaitsAdmission", "o.flags & 64 <> 0")
            .value("forkedFrom", data("coalesce(d.forked_from_alias, d.forked_from::text)"))
            .add("error", format!("{ERROR_CODE} is not null"), Form::Presence)
            .value("error/code", ERROR_CODE)
            .value("error/message", ERROR_MESSAGE)
            .value("cancellation", data("d.cancellation"))
            .add("stepCounts", "true", Form::Presence)
            .value("labels", "o.labels")
            .value("attention", format!("(o.state < 6 and {DIGITS} ~ '[4-7]')"))
            .value("context", data("d.context"));
        STEP_COUNTS
            .into_iter()
            .zip(StepState::DEFAULT)
            .fold(columns, |columns, (path, state)| columns.value(path, step_count(state)))
    });
    &COLUMNS
}

/// In the order of the codes.
const STEP_COUNTS: [&str; StepState::DEFAULT.len()] = [
    "stepCounts/Ready",
    "stepCounts/Waiting",
    "stepCounts/Running",
    "stepCounts/Unresponsive",
    "stepCounts/Paused",
    "stepCounts/Interrupted",
    "stepCounts/Error",
    "stepCounts/ToSkip",
    "stepCounts/Skipped",
    "stepCounts/Blocked",
    "stepCounts/Unreachable",
    "stepCounts/Succeeded",
    "stepCounts/Failed",
    "stepCounts/TimedOut",
    "stepCounts/Cancelled",
];

/// The states of all steps in hexadecimal, each a 0 and the digit of its class: the first digit of a
/// state of a machine of the jobset's own is overwritten.
const DIGITS: &str = "(case when o.flags & 8 = 0 \
    then encode(case when o.steps = ''::bytea then \
        (select string_agg(c.steps, ''::bytea order by c.chunk) from step_chunk c \
         where c.operation = o.id) else o.steps end, 'hex') \
    else regexp_replace(encode(all_steps(o.id, o.steps), 'hex'), '.(.)', '0\\1', 'g') end)";

/// The state, or, of a tombstone, the one that it ended in.
const OUTCOME: &str = "coalesce(o.ended_as, o.state)";

/// A call for each row would be slow, so the function is called for those with an error only.
const ERROR_MESSAGE: &str = "case when o.state > 6 or o.stop = 1 \
    then error_message(o.id, coalesce(o.ended_as, o.state), o.stop, o.steps) end";
const ERROR_CODE: &str = "error_code(coalesce(o.ended_as, o.state), o.stop)";

/// How many steps are in a state: how many digits remain without all others.
fn step_count(state: StepState) -> String {
    let code = format!("{:x}", state.code());
    let others = "0123456789abcdef".replace(&code, "");
    let zeros = if state.code() == 0 { DIGITS } else { "''" };
    format!("(length(translate({DIGITS}, '{others}', '')) - length({zeros}) / 2)::bigint")
}

/// The share of the steps that have ended, 0 to 99; 100 for what succeeded. As in
/// [`domain::rollup`](crate::domain::rollup).
fn percent_complete() -> String {
    let is_open = |state: &StepState| state.phase() != Phase::Ended;
    let digit = |state: StepState| char::from_digit(u32::from(state.code()), 16);
    let open: String = StepState::DEFAULT.into_iter().filter(is_open).filter_map(digit).collect();
    let ended = format!("length(translate({DIGITS}, '{open}', ''))");
    format!(
        "(case when {OUTCOME} = 6 then 100 \
         else least(99, {ended} * 200::bigint / greatest(length({DIGITS}), 1)) end)::bigint"
    )
}

/// The text of an operation that `$search` looks through, in lower case: name, labels and error. In
/// a query from `operation o`.
pub(in crate::store) static SEARCH_TEXT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "odata_lower(concat_ws(e'\\n', \
         (select j.name from jobset j where j.id = o.jobset), \
         (select string_agg(l.key || e'\\n' || l.value, e'\\n') \
          from jsonb_each_text(odata_json_entries(o.labels)) l), \
         {ERROR_CODE}, {ERROR_MESSAGE}))"
    )
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_counts_are_named_after_their_states() {
        for (path, state) in STEP_COUNTS.into_iter().zip(StepState::DEFAULT) {
            assert_eq!(path, format!("stepCounts/{state}", state = state.name()));
        }
    }
}
