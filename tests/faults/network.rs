//! A network between this machine and a part of it that has its own, and that can be cut.

use std::process::Command;

/// A network of two: the host, and whoever is started inside.
pub(crate) struct Network {
    /// The namespace; the interfaces are named like it.
    name: String,
    /// The first three numbers of the addresses.
    prefix: String,
}

/// What no interface has: what is sent there arrives nowhere, and nobody hears of it.
const NOBODY: &str = "02:00:00:00:00:01";

impl Network {
    /// Makes it; only root may.
    pub(crate) fn make() -> Result<Self, String> {
        let number = std::process::id();
        let prefix = format!("10.{}.{}", 128 + (number >> 8 & 0x7f), number & 0xff);
        let network = Self { name: format!("mf{number}"), prefix };
        let (name, host, guest) = (&network.name, network.host(), network.guest());
        let (near, far) = (format!("{name}a"), format!("{name}b"));
        let far_end = ["-n", name];
        ip(&["netns", "add", name])?;
        ip(&["link", "add", &near, "type", "veth", "peer", "name", &far, "netns", name])?;
        ip(&["address", "add", &format!("{host}/24"), "dev", &near])?;
        ip(&["link", "set", &near, "up"])?;
        ip(&[&far_end[..], &["address", "add", &format!("{guest}/24"), "dev", &far]].concat())?;
        ip(&[&far_end[..], &["link", "set", &far, "up"]].concat())?;
        ip(&[&far_end[..], &["link", "set", "lo", "up"]].concat())?;
        Ok(network)
    }

    /// The address of this machine.
    pub(crate) fn host(&self) -> String {
        format!("{}.1", self.prefix)
    }

    fn guest(&self) -> String {
        format!("{}.2", self.prefix)
    }

    /// What starts a program inside, before its name.
    pub(crate) fn inside(&self) -> [String; 4] {
        ["ip", "netns", "exec", &self.name].map(str::to_owned)
    }

    /// From now on nothing arrives, in either direction, and no connection is told.
    pub(crate) fn cut(&self) {
        let name = &self.name;
        let nowhere = |to: &str, through: &str, inside: &[&str]| {
            let words = ["neighbour", "replace", to, "lladdr", NOBODY, "nud", "permanent"];
            ip(&[inside, &words, &["dev", through]].concat()).expect("the network is there");
        };
        nowhere(&self.guest(), &format!("{name}a"), &[]);
        nowhere(&self.host(), &format!("{name}b"), &["-n", name]);
    }

    /// Everything arrives again.
    pub(crate) fn mend(&self) {
        let name = &self.name;
        let asked = |to: &str, through: &str, inside: &[&str]| {
            let words = ["neighbour", "delete", to, "dev", through];
            ip(&[inside, &words].concat()).expect("the network is there");
        };
        asked(&self.guest(), &format!("{name}a"), &[]);
        asked(&self.host(), &format!("{name}b"), &["-n", name]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The interfaces go with the one inside.
        _ = ip(&["netns", "delete", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|error| format!("ip cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("no network of its own: ip {}: {}", arguments.join(" "), said.trim()))
}
