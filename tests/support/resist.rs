//! Two hundred descendants that do all they can to stay.

/// Resists: a third in sessions of their own, a third forked twice and immune to hang-ups, the rest
/// plain, and all of them deaf to SIGTERM, SIGINT and SIGHUP. Each tells in the file that is the first
/// argument, if there is one, that it is up.
pub(crate) const RESIST: &str = r#"
    trap '' TERM INT HUP
    resist='exec 9>"${1:-/dev/null}"; echo up >&9; while :; do sleep 1000; done'
    n=0
    while [ $n -lt 200 ]; do
        case $((n % 3)) in
            0) setsid sh -c "$resist" sh "$1" & ;;
            1) (nohup sh -c "$resist" sh "$1" >/dev/null 2>&1 &) ;;
            2) sh -c "$resist" sh "$1" & ;;
        esac
        n=$((n + 1))
    done
    wait
"#;

/// How often that is tried: as `SUTBOT_HOSTILE_ROUNDS` says, or so often every day.
pub(crate) fn rounds(every_day: usize) -> usize {
    let asked = std::env::var("SUTBOT_HOSTILE_ROUNDS").ok();
    asked.map_or(every_day, |text| text.parse().expect("SUTBOT_HOSTILE_ROUNDS is a number"))
}
