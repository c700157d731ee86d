//! The only place that starts step processes.

/// Step processes.
pub mod process {
    /// Becomes the zygote when this process was started to be one.
    pub const fn run_if_zygote() {}
}
