//! What users of the two older systems could do, row by row of their tables, against a real server
//! with real processes. Each test also sees that the defect which the original had there is not here.
//!
//! | rows of | are tested by |
//! |---|---|
//! | 0, findings 1-6, and `interrupt` of 1.2 | `findings::finding_1_*` ... `finding_6_*`, `findings::an_interrupt_*` |
//! | 2.2 Ready: Start, Pause, Mark to skip | `machine::row_2_2_ready_start`, `_ready_pause`, `_ready_mark_to_skip` |
//! | 2.2 Waiting: Run, Pause, Mark to skip | `machine::row_2_2_waiting_run_when_its_preconditions_hold`, `_waiting_pause`, `_waiting_mark_to_skip` |
//! | 2.2 To Skip: Unskip, Skip | `machine::row_2_2_to_skip_unskip`, `_to_skip_skip_when_reached` |
//! | 2.2 Paused: Resume, Mark to skip | `machine::row_2_2_paused_resume`, `_paused_mark_to_skip` |
//! | 2.2 Error: Re-run, Mark to skip | `machine::row_2_2_error_rerun`, `_error_mark_to_skip` |
//! | 2.2 Running: Succeed, Fail, Error, Interrupt | `machine::row_2_2_running_succeed`, `_running_fail`, `_running_error`, `_running_interrupt_and_interrupted_resume` |
//! | 2.2 Interrupted: Resume, Mark to skip | `machine::row_2_2_running_interrupt_and_interrupted_resume`, `_interrupted_mark_to_skip` |
//! | 2.2 Successful, Failed, Skipped; preconditions | `machine::row_2_2_successful_failed_and_skipped_end_the_operation`, `_preconditions_are_cumulative_*` |
//! | 2.5 `get_serialized_context`, `start`, `shutdown`, `list`, `status` | `handler::row_2_5_get_serialized_context`, `_start_*`, `_shutdown_*`, `_list_*`, `_status_fields_states_tags` |
//! | 2.5 `pause`, `resume`, `interrupt`, `rerun`, `skip`, `unskip` | `handler::row_2_5_pause_and_resume`, `_interrupt`, `_rerun`, `_skip_and_unskip` |
//! | 2.5 `steps_waiting_for_user_input` | `handler::row_2_5_steps_that_run_*`, and below |
//! | 2.5 tags, helpers, `make_api_client` | `handler::row_2_5_tags_*`, `_helpers_*`, `_make_api_client_*` |
//! | 3.1 Ready, Waiting, Running | `old::row_3_1_ready_*`, `_waiting_*`, `_running_*` |
//! | 3.1 To Pause, To Skip, To Block | `old::row_3_1_marks_*` |
//! | 3.1 Paused, Paused due to failure, Interrupted | `old::row_3_1_held_states_*` |
//! | 3.1 Succeeded, Skipped; Failed, Blocked | `old::row_3_1_succeeded_and_skipped_*`, `_failed_and_blocked_*` |
//! | 3.2 `start`, `stop` | `old::row_3_2_start`, `_stop_*` |
//! | 3.2 `shutdown`, `list`, `status`, `pause`, `interrupt` | the tests of 2.5 |
//! | 3.2 `pause_branch`, `resume`, `resume_branch`, `next_step` | `old::row_3_2_pause_branch_*`, `_resume_*`, `_next_step_*` |
//! | 3.2 `skip`, `unskip`, `block`, `unblock` | `old::row_3_2_skip_and_unskip`, `_block_and_unblock` |
//! | 3.2 `set_pause_on_fail`, `unset_pause_on_fail`; `n`; errors | `old::row_3_2_set_and_unset_pause_on_fail`, `_n_is_*`, `_calls_that_are_wrong_*` |
//! | 3.3 `TrailServer`, `restore_trail` | `library::row_3_3_trail_server_*`, `_restore_trail_*` |
//! | 3.3 `ShellCommand`, `create_conditional_step` | `library::row_3_3_shell_command_*`, `_conditional_step_branches_join_cleanly` |
//! | 3.3 templating, `extraction_wrapper`, decorators | `library::row_3_3_templating_*`, `_exceptions_*`, `_steps_take_*` |
//! | 3.3 `threadsafe_class`, `write_trail_definition_as_dot` | `library::row_3_3_parallel_steps_*`, `_the_definition_as_dot` |
//! | 3.3 `monitor_trail`, `determine_group_state`, CLI | `library::row_3_3_monitor_trail_*`, `_determine_group_state`, `_command_line_*` |
//! | 3.3 examples | `library::row_3_3_example_*`; the files of `examples/` in `tests/examples.rs` |
//!
//! What people are asked and told (2.5 and 3.2 `send_message_to_steps` and
//! `steps_waiting_for_user_input`, 3.3 `TrailEnvironment` and `Instruction`) has its rows in
//! `tests/http/people.rs`, events as a stream in `tests/http/live.rs`. Not here: the interactive shell
//! of 3.3, in place of which there is the command line with its completions.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod findings;
mod handler;
mod library;
mod machine;
mod old;
mod place;
#[path = "../support/steering.rs"]
mod steering;
#[expect(dead_code, reason = "shared with the other black-box programs")]
#[path = "../http/support.rs"]
mod support;
