//! Many jobsets in one request.
//!
//! A member is a jobset as it is posted alone, or a definition with a list of its runs, so that ten
//! thousand runs need not repeat it. The two are told apart by their fields. Members and runs are
//! read one by one: each that is wrong is told, and what is right in the others is not read twice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::explain::{not_json, plain};
use super::jobset::{JobsetDocument, run_data};
use super::{Detail, read_jobset, unique};
use crate::domain::Problem;

/// What is posted to `/v1.0/jobsets:batch`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct BatchRequest {
    /// What is to be run, in the order of the answer.
    #[schema(min_items = 1)]
    pub jobsets: Vec<BatchMember>,
}

/// A member of a batch: runs of one definition.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum BatchMember {
    /// One, as it is posted to `/v1.0/jobsets`.
    One(Box<JobsetDocument>),
    /// Many.
    Many(JobsetRuns),
}

/// Many runs of one definition.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobsetRuns {
    /// What is run. Its labels and its context are those of runs that have none of their own.
    pub jobset: Box<JobsetDocument>,
    /// The runs.
    #[schema(min_items = 1)]
    pub runs: Vec<JobsetRun>,
}

/// One of many runs of a definition.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "an object")]
pub struct JobsetRun {
    /// Free key-values of this run, in place of those of the jobset.
    #[serde(default, deserialize_with = "labels", skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Shared data of its steps, in place of that of the jobset.
    #[serde(default, deserialize_with = "unique::object", skip_serializing_if = "Option::is_none")]
    pub context: Option<Map<String, Value>>,
    /// The id that the operation is to have, as the header `Operation-Id` gives it. If an earlier
    /// request made it, it is not made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128, pattern = "^[A-Za-z0-9._~-]+$")]
    pub operation_id: Option<String>,
}

fn labels<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    unique::map(deserializer).map(Some)
}

impl JobsetRun {
    /// Its own labels and context, `None` where it has none.
    ///
    /// # Errors
    /// As for [`JobsetDocument::run_data`].
    pub fn run_data(&self) -> Result<(Option<Value>, Option<Value>), Vec<Problem>> {
        run_data(self.labels.as_ref(), self.context.as_ref())
    }
}

/// The answer to a batch.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct BatchAccepted {
    /// The operations, in the order of the request.
    pub value: Vec<AcceptedOperation>,
    /// What the jobsets say and may not mean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Detail>,
}

/// An operation of a batch.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedOperation {
    /// Its id.
    pub id: String,
    /// The absolute URL to poll; left out with `Prefer: return=minimal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_location: Option<String>,
}

/// Reads a batch, but not its members.
///
/// # Errors
/// What is wrong with it.
pub fn read_batch(bytes: &[u8]) -> Result<Vec<&RawValue>, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, expecting = "an object")]
    struct Batch<'a> {
        #[serde(borrow)]
        jobsets: Vec<&'a RawValue>,
    }
    let jobsets = read::<Batch<'_>>(bytes)?.jobsets;
    if jobsets.is_empty() {
        return Err(Problem::new("jobsets", "needs at least 1 of them"));
    }
    Ok(jobsets)
}

/// Reads a member of a batch. Of its runs, no more than `most` are looked at.
///
/// # Errors
/// Everything that is wrong with its shape, each with its place in the member.
pub fn read_member(member: &RawValue, most: usize) -> Result<BatchMember, Vec<Problem>> {
    let text = member.get();
    match serde_json::from_str(text) {
        Ok(document) => Ok(BatchMember::One(document)),
        Err(_) if has_runs(text) => read_runs(text, most).map(BatchMember::Many),
        Err(_) => read_jobset(text.as_bytes()).map(|document| BatchMember::One(Box::new(document))),
    }
}

/// Whether many runs are meant, however wrong they are.
fn has_runs(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Form<'a> {
        #[serde(borrow)]
        jobset: Option<&'a RawValue>,
        #[serde(borrow)]
        runs: Option<&'a RawValue>,
    }
    serde_json::from_str(text).is_ok_and(|form: Form<'_>| form.jobset.or(form.runs).is_some())
}

fn read_runs(text: &str, most: usize) -> Result<JobsetRuns, Vec<Problem>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, expecting = "an object")]
    struct Runs<'a> {
        #[serde(borrow)]
        jobset: &'a RawValue,
        #[serde(borrow)]
        runs: Vec<&'a RawValue>,
    }
    let Runs { jobset, mut runs } = read(text.as_bytes()).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let jobset = read_jobset(jobset.get().as_bytes());
    if runs.is_empty() {
        problems.push(Problem::new("runs", "needs at least 1 of them"));
    }
    runs.truncate(most);
    let mut good = Vec::with_capacity(runs.len());
    for (index, run) in runs.into_iter().enumerate() {
        match read(run.get().as_bytes()) {
            Ok(run) => good.push(run),
            Err(problem) => problems.push(problem.within(&format!("runs[{index}]"))),
        }
    }
    match jobset {
        Ok(jobset) if problems.is_empty() => {
            Ok(JobsetRuns { jobset: Box::new(jobset), runs: good })
        }
        Ok(_) => Err(problems),
        Err(wrong) => {
            let wrong = wrong.into_iter().map(|problem| problem.within("jobset"));
            Err(wrong.chain(problems).collect())
        }
    }
}

/// Reads a document; one that is wrong once more, for the place.
fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    // A list of the fields would do for serde.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::new("", "must be an object, not a list"));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        if !error.is_data() {
            return not_json(&error);
        }
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let path = match serde_path_to_error::deserialize::<_, T>(&mut reader) {
            Err(error) if error.path().iter().len() > 0 => error.path().to_string(),
            Ok(_) | Err(_) => String::new(),
        };
        Problem::new(path, plain(&error.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(batch: &str, expected: &Expect) {
        let members = match read_batch(batch.as_bytes()) {
            Ok(members) => members,
            Err(problem) => return expected.assert_eq(&problem.to_string()),
        };
        let lines: Vec<String> = members
            .into_iter()
            .flat_map(|member| read_member(member, 10).err().unwrap_or_default())
            .map(|problem| problem.to_string())
            .collect();
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn what_is_no_batch_is_told() {
        check("", &expect!["is empty; a jobset was expected"]);
        check("[]", &expect!["must be an object, not a list"]);
        check("{}", &expect!["missing field `jobsets`"]);
        check(r#"{"jobsets": []}"#, &expect!["jobsets: needs at least 1 of them"]);
        check(
            r#"{"jobsets": 1}"#,
            &expect!["jobsets: invalid type: integer `1`, expected a sequence"],
        );
        check(
            r#"{"jobsets": [], "steps": []}"#,
            &expect!["steps: unknown field `steps`, expected `jobsets`"],
        );
        check(r#"{"jobsets": [}"#, &expect!["is not JSON: expected value at line 1, column 14"]);
        check(
            r#"{"jobsets": []} x"#,
            &expect!["is not JSON: trailing characters at line 1, column 17"],
        );
    }

    #[test]
    fn members_have_two_forms() {
        let batch = br#"{"jobsets": [
            {"steps": [{"name": "a"}], "labels": {"x": "1"}},
            {"jobset": {"steps": [{"name": "a"}]}, "runs": [
                {}, {"labels": {}}, {"operationId": "b", "context": {"y": 2}}]}]}"#;
        let members: Vec<BatchMember> =
            read_batch(batch).unwrap().into_iter().map(|m| read_member(m, 10).unwrap()).collect();
        let [BatchMember::One(one), BatchMember::Many(many)] = members.as_slice() else {
            panic!("{members:?}");
        };
        assert_eq!(one.steps, many.jobset.steps);
        let labels: Vec<_> = many.runs.iter().map(|run| run.labels.is_some()).collect();
        assert_eq!(labels, [false, true, false]);
        let written = serde_json::to_vec(&BatchRequest { jobsets: members.clone() }).unwrap();
        let read: Vec<BatchMember> = read_batch(&written)
            .unwrap()
            .into_iter()
            .map(|m| read_member(m, 10).unwrap())
            .collect();
        assert_eq!(read, members);
    }

    #[test]
    fn everything_that_is_wrong_is_told() {
        check(
            r#"{"jobsets": [
                {"stepps": []}, 5, {"steps": [{"name": 7}, {"name": "a", "runn": 1}]},
                {"jobset": {"steps": [{"name": 7}]}, "runs": [{}, {"label": {}}, 3]},
                {"jobset": {"steps": []}}, {"jobset": {"steps": [{"name": "a"}]}, "runs": []},
                {"runs": [{}], "steps": [{"name": "a"}]},
                {"jobset": {"steps": [{"name": "a"}]}, "runs": [
                    {"labels": {"x": 1}}, {"context": []}, {"labels": {"x": "1", "x": "2"}}]}
            ]}"#,
            &expect![[r#"
                stepps: unknown field `stepps`; did you mean `steps`?
                the field `steps` is missing
                must be an object, not a number
                steps[0].name: must be a string, not a number
                steps[1].runn: unknown field `runn`; did you mean `run`?
                jobset.steps[0].name: must be a string, not a number
                runs[1].label: unknown field `label`, expected one of `labels`, `context`, `operationId`
                runs[2]: invalid type: integer `3`, expected an object
                missing field `runs`
                runs: needs at least 1 of them
                steps: unknown field `steps`, expected `jobset` or `runs`
                runs[0].labels.x: invalid type: integer `1`, expected a string
                runs[1].context: must be an object
                runs[2].labels: `x` stands twice"#]],
        );
    }
}
