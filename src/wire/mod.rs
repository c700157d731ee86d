//! The shapes of the API: what stands on the wire, and its conversion to and from the domain.
//!
//! Every shape is written once and serves the server, the client, the stored form of a definition
//! and the OpenAPI document. Requests refuse unknown fields; answers may grow fields, so a client
//! reads them leniently.

mod batch;
mod duration;
mod error;
mod explain;
pub mod graph;
mod jobset;
mod jvvset;
mod limits;
mod live;
mod machine;
mod operation;
mod people;
mod retry;
mod run;
mod scheduling;
mod steer;
mod step;
mod unique;
mod when;
mod why;
mod work;
mod worker;

pub use batch::{
    AcceptedOperation, BatchAccepted, BatchMember, BatchRequest, JobsetRun, JobsetRuns, read_batch,
    read_member,
};
pub use duration::DurationText;
pub use error::{Detail, ErrorBody, ErrorEnvelope};
pub use explain::read_jobset;
pub use jobset::{
    JobsetDocument, NeedDocument, OnCancelDocument, OnFailureDocument, StartDocument, StepDocument,
    decode_definition,
};
pub use jvvset::{
    CausalityDocument, ChangedDocument, CompareRequest, Compared, EventRequest, HappenedBefore,
    NewNodeRequest, NodeDocument, NodePair, StampDocument, StampTrees, TREE_DEPTH_MAX,
    TreeDocument,
};
pub use limits::{LimitsDocument, SizeText, WallDocument};
pub use live::{EventsEnd, EventsReset, OperationEvent, OutputEnd};
pub use machine::{EndDocument, MachineDocument, StateDocument, TransitionDocument};
pub use operation::{Jobset, Operation, Page};
pub use people::{
    Message, MessageReceiver, MessageRequest, MessageSent, Prompt, ReplyRequest, ReplyStatus,
};
pub use retry::RetryDocument;
pub use run::{FunctionDocument, InstructionDocument, RunDocument, StdinDocument};
pub use scheduling::{ConcurrencyDocument, OnConflictDocument, RateLimitDocument};
pub use steer::{
    MovedStep, RefusedStep, ScopeDocument, SteerRequest, Steered, SteeredOperation,
    SteeredOperations,
};
pub use step::{Attempt, ConcurrentAttempt, Event, OutputPiece, Step};
pub use unique::read_value;
pub use when::{ClauseDocument, WhenDocument};
pub use why::{
    ElsewhereAction, ExplainedClause, ExplainedGroup, ExplainedGuard, ExplainedMove, ExplainedStep,
    ExplainedTerm, OperationExplanation, RootCause, StepExplanation,
};
pub use work::{
    AskRequest, DataAnswer, DataRequest, DueMessageDocument, EndedAnswer, EndedRequest,
    EndingDocument, MailAnswer, MailRequest, MessagesRequest, OutputRequest, PassedOn,
    PieceDocument, RecordDocument, Replies, ReplyDocument, ReportDocument, SettleAnswer,
    SettleRequest, SettledReport, StepMessageDocument, StoredJobset,
};
pub use worker::{
    AssignmentDocument, AttemptRef, Bytes, HeartbeatAnswer, OrderDocument, PollRequest, Polled,
    RegisteredWorker, StampBytes, WORKER_SECRET, Worker, WorkerRegistration, Workers,
};
