//! Swap in use. Keeping it off at boot is a matter of files and units.

use crate::{Change, Cmd, Context, Host, Result, Status, Step, Thing, fs};

/// No swap area is in use.
#[derive(Debug, Clone, Copy)]
pub struct SwapOff;

impl Step for SwapOff {
    fn id(&self) -> String {
        "swap".into()
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let areas = areas(context.host)?;
        Ok(if areas.is_empty() {
            Status::Done
        } else {
            Status::Differs(Change::new(format!("switch swap off: {}", areas.join(", "))))
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(vec![Thing::Swap])
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        for area in areas(context.host)? {
            Cmd::new("swapoff").arg(area).run()?;
        }
        Ok(())
    }
}

/// Areas in use, by path (proc(5), `/proc/swaps`: a heading, then a line each).
pub fn areas(host: &Host) -> Result<Vec<String>> {
    let table = fs::read_text(&host.path("/proc/swaps"))?.unwrap_or_default();
    let areas = table.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    Ok(areas.map(str::to_owned).collect())
}

pub(crate) fn switch_on(areas: &[String]) -> Result<()> {
    for area in areas {
        Cmd::new("swapon").arg(area).run()?;
    }
    Ok(())
}
