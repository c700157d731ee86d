//! `mother`: runs jobsets.

use std::path::PathBuf;

use sutbot::cli::{Host, HostSettings};

fn main() {
    sutbot::runner::process::run_if_zygote();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(std::env::var("MOTHER_LOG").unwrap_or("info".into()))
        .init();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut settings = HostSettings::new(PathBuf::from(
            std::env::args().nth(1).unwrap_or("/tmp/mother-try".into()),
        ));
        settings.listen = Some("127.0.0.1:8080".parse().expect("address"));
        let host = Host::start(settings).await.expect("host");
        println!("listening on {:?}", host.address());
        host.run_until(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await
        .expect("run");
    });
}
