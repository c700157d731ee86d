//! Interval tree clocks against the paper, against causal histories and version vectors, against
//! what the trees mean at each place, and against another program.
//!
//! `SUTBOT_ITC_CASES` asks for more cases than the everyday run has.

mod entry;
mod figures;
mod forms;
mod fuzz;
mod laws;
mod limits;
mod places;
mod runs;
mod support;
mod twigs;
