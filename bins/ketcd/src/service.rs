//! `etcd.service`, as kubespray has it (`roles/etcd/templates/etcd-host.service.j2`), but for the
//! user: etcd needs nothing of root's.

use std::cmp::min;

use crate::env;

/// Name of the unit.
pub(crate) const NAME: &str = "etcd.service";
/// Where it is.
pub(crate) const PATH: &str = "/etc/systemd/system/etcd.service";

/// Open files etcd may have, where the machine allows it (kubespray).
const OPEN_FILES: u64 = 40_000;

/// The text of the unit on a machine that allows `hard_limit` open files. Asked for more, systemd
/// gives what there is without a word; the unit shall say what etcd really gets.
pub(crate) fn render(hard_limit: Option<u64>) -> String {
    let open_files = min(OPEN_FILES, hard_limit.unwrap_or(OPEN_FILES));
    format!(
        "[Unit]
Description=etcd
After=network.target

[Service]
Type=notify
User=etcd
EnvironmentFile={}
ExecStart=/usr/local/bin/etcd
NotifyAccess=all
Restart=always
RestartSec=10s
LimitNOFILE={open_files}

[Install]
WantedBy=multi-user.target
",
        env::PATH
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs_as_etcd_with_the_open_files_there_are() {
        insta::assert_snapshot!(super::render(None), @r"
        [Unit]
        Description=etcd
        After=network.target

        [Service]
        Type=notify
        User=etcd
        EnvironmentFile=/etc/etcd.env
        ExecStart=/usr/local/bin/etcd
        NotifyAccess=all
        Restart=always
        RestartSec=10s
        LimitNOFILE=40000

        [Install]
        WantedBy=multi-user.target
        ");
        assert!(super::render(Some(20_000)).contains("LimitNOFILE=20000\n"));
        assert!(super::render(Some(1 << 20)).contains("LimitNOFILE=40000\n"));
    }
}
