//! What a new operation begins with.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::command::Submit;
use super::lane::Cached;
use crate::domain::{Run, resources};
use crate::store::{
    HAS_DATA, HAS_EDITS, HAS_MACHINES, HAS_RESOURCES, HAS_RESULT, HAS_TERMS, NewOperation,
    OperationData,
};

/// A new operation, as it stands before anything of it is claimed.
pub(super) struct Begun {
    pub(super) cached: Cached,
    pub(super) new: NewOperation,
    /// What it has beside its row, if it has something.
    pub(super) data: Option<OperationData>,
}

impl Submit {
    /// Begins the operation; `stamps`: the causal order of its events is kept.
    pub(super) fn begin(&self, stamps: bool, now: DateTime<Utc>) -> Begun {
        let Self { id, jobset, labels, context, fork, terms, identity } = self;
        let mut flags = if jobset.jobset.has_machines() { HAS_MACHINES } else { 0 };
        let mut stored = OperationData { context: context.clone(), ..OperationData::default() };
        let mut run = match fork {
            None => Run::submit(*id, Arc::clone(&jobset.jobset), now),
            Some(fork) => {
                flags |= HAS_DATA | fork.flags & HAS_RESULT;
                flags |= if fork.edits.is_some() { HAS_EDITS } else { 0 };
                stored.edits.clone_from(&fork.edits);
                stored.forked_from = Some(fork.source);
                stored.forked_from_alias.clone_from(&fork.source_alias);
                fork.run.clone()
            }
        };
        if !stamps {
            run.forget_stamps();
        }
        if terms.is_some() {
            flags |= HAS_TERMS;
            run.gate();
        }
        flags |= if context.is_some() { HAS_DATA } else { 0 };
        let named: BTreeSet<&str> =
            resources(labels.as_ref()).into_iter().map(|(_, name)| name).collect();
        let resources: Vec<String> = named.into_iter().map(str::to_owned).collect();
        flags |= if resources.is_empty() { 0 } else { HAS_RESOURCES };
        let (jobset, labels) = (jobset.record.id, labels.clone());
        let alias = identity.as_ref().and_then(|i| i.alias()).map(str::to_owned);
        let (version, since, queued) = (0, now, false);
        Begun {
            cached: Cached { run, jobset, flags, version, since, queued },
            new: NewOperation { jobset, alias, labels, resources, terms: terms.clone() },
            data: (flags & HAS_DATA != 0).then_some(stored),
        }
    }
}
