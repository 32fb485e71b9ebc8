//! Snapshots by the calendar: a service and its timer, where `[etcd.backup] schedule` wants them.

use khost::{
    Cmd, Error, Result, StepList, Tool,
    steps::{absent::Absent, file::File, unit::Unit, unit_off::UnitOff},
};
use kspec::{
    cluster::EtcdBackup,
    paths::{BIN_DIR, UNIT_DIR},
};

/// The timer's unit.
const TIMER: &str = "ketcd-backup.timer";
/// What it starts.
const SERVICE: &str = "ketcd-backup.service";

/// The calendar of `[etcd.backup]`, found readable.
#[derive(Debug)]
pub(crate) struct Timer<'a> {
    /// As `OnCalendar=` has it; empty: never.
    schedule: &'a str,
}

impl<'a> Timer<'a> {
    /// The calendar of `backup`.
    ///
    /// # Errors
    /// `backup-schedule-invalid` when systemd cannot read it.
    pub(crate) fn new(tool: &Tool, backup: &'a EtcdBackup) -> Result<Self> {
        let schedule = backup.schedule.trim();
        if !schedule.is_empty() && tool.host.is_live() {
            let ask = Cmd::new("systemd-analyze").args(["calendar", "--", schedule]);
            ask.run().map_err(|error| {
                let message = format!("etcd.backup.schedule: `{schedule}` is no calendar event");
                Error::input("backup-schedule-invalid", message)
                    .because(error)
                    .hint("write one of systemd.time(7), such as \"daily\" or \"*-*-* 00/6:00:00\"")
            })?;
        }
        Ok(Self { schedule })
    }

    /// Have both units, or neither.
    pub(crate) fn add_to(&self, steps: &mut StepList) {
        let [service, timer] = [SERVICE, TIMER].map(|name| format!("{UNIT_DIR}/{name}"));
        if self.schedule.is_empty() {
            steps.add(UnitOff::new(TIMER));
            steps.add(Absent::new(timer));
            steps.add(Absent::new(service));
        } else {
            steps.add(File::new(service).text(service_text()));
            steps.add(File::new(timer).text(timer_text(self.schedule)));
            steps.add(Unit::new(TIMER));
        }
    }
}

fn service_text() -> String {
    format!(
        "[Unit]
Description=Snapshot of what etcd holds
Documentation=man:ketcd(8)
After=etcd.service

[Service]
Type=oneshot
ExecStart={BIN_DIR}/ketcd backup
"
    )
}

fn timer_text(schedule: &str) -> String {
    // Persistent: a machine that was off at the time saves one when it is back.
    format!(
        "[Unit]
Description=Snapshots of what etcd holds, by etcd.backup.schedule
Documentation=man:ketcd(8)

[Timer]
OnCalendar={schedule}
Persistent=true

[Install]
WantedBy=timers.target
"
    )
}
