//! `ketcd restore`: the member begins anew with what a snapshot holds.
//!
//! What a snapshot lacks, clients have seen: they would wait for revisions that come again with
//! other content. So the revision is raised beyond all they can have seen, and all before counts
//! as compacted, which makes every watch begin anew (etcd's "Disaster recovery").

mod data;
mod marker;

use std::path::Path;

use khost::{
    Change, Context, Error, Result, Status, StepList, Tool, engine,
    error::Exit,
    fs,
    static_pod::{Component, StaticPod},
    steps::{command::Guarded, wait::Wait},
    wait::{Awaited, Seen},
};
use kspec::{Cluster, Node, Role};

use crate::{
    backup::{check_sum, inspect},
    env::Start,
    etcdctl, health,
    members::Members,
    phase::Phase,
};
use data::Data;
use marker::Marker;
pub(crate) use marker::refuse_unfinished;

/// How far the revision is raised: what etcd's manual suggests, months of a busy cluster.
const BUMP: u64 = 1_000_000_000;

/// `ketcd restore FILE`. Whatever kills it, the same command again goes on.
///
/// # Errors
/// `not-a-member`, `snapshot-missing`, `snapshot-damaged`, `data-present`, and those of `apply`.
pub(crate) fn run(tool: &Tool, file: &Path, force: bool) -> Result<Exit> {
    let phase = on_member(tool)?;
    let file = std::path::absolute(file).map_err(|error| Error::io("read", file, error))?;
    let marker = plan(tool, &phase, &file, force)?;
    call_the_members(tool, &phase.cluster, &phase.node);
    engine::apply("ketcd", &steps(tool, &phase, &marker)?, &tool.context())?;
    tell_the_planes(tool, &phase.cluster, &phase.node);
    Ok(Exit::Done)
}

fn on_member(tool: &Tool) -> Result<Phase> {
    if !tool.host.is_live() {
        return Err(Error::input("needs-machine", "`ketcd restore` starts an etcd")
            .because("in a tree nothing runs")
            .hint("leave out `--root`"));
    }
    tool.needs_root("restore")?;
    tool.alone()?;
    Phase::new(tool)?.ok_or_else(|| {
        Error::input("not-a-member", "this node is no etcd member")
            .hint("run it on the nodes that have the role etcd in cluster.toml")
    })
}

/// Look before anything is touched: is the snapshot whole, and is nothing in its way? A restore
/// from the same file that was begun is gone on with.
fn plan(tool: &Tool, phase: &Phase, file: &Path, force: bool) -> Result<Marker> {
    check_sum(file)?;
    let etcdutl = phase.inputs.program("etcdutl").map(|found| tool.host.path(&found.path));
    let content = inspect(etcdutl.unwrap_or_default().display().to_string(), file)?;
    let data = Data::of(&tool.host);
    let marker = Marker::new(file, &content)?;
    if let Some(begun) = Marker::read(&tool.host)?
        && begun.is_of(&marker)
        && data.is_from(&begun.id)?
    {
        return Ok(begun);
    }
    if data.has_members() && !force {
        let dir = data.member();
        return Err(Error::input(
            "data-present",
            format!("`{}` holds a member's data", dir.display()),
        )
        .because("a restore begins anew, without it")
        .hint(format!(
            "run `ketcd restore {} --force`, which moves it to `{}` and deletes nothing",
            file.display(),
            data.aside(&marker.id).display()
        )));
    }
    Ok(marker)
}

fn steps(tool: &Tool, phase: &Phase, marker: &Marker) -> Result<StepList> {
    let mut steps = StepList::new();
    phase.install(&mut steps);
    phase.unit_file(&mut steps);
    let start = Start {
        name: phase.name.clone(),
        state: "new".into(),
        initial_cluster: phase.members.initial_cluster(),
        alone: phase.members.endpoints().len() == 1,
    };
    steps.add(replaced(marker, &start, &phase.node));
    phase.begin(&mut steps, &start)?;
    phase.start(&mut steps);
    steps.add(proven(marker));
    steps.add(control_plane(marker, &phase.cluster));
    phase.finish(&mut steps, tool)?;
    phase.tell(&mut steps);
    Ok(steps)
}

/// The data is the snapshot's.
fn replaced(marker: &Marker, start: &Start, node: &Node) -> Guarded {
    let what = format!("restore revision {} from {}", marker.revision, marker.file.display());
    let (id, own, start) = (marker.id.clone(), marker.clone(), start.clone());
    let peer_url = Members::peer_url(node);
    Guarded::new(
        "etcd-data",
        move |context| {
            Ok(if Data::of(context.host).is_from(&id)? {
                Status::Done
            } else {
                Status::Differs(Change::new(what.clone()))
            })
        },
        move |context| {
            let data = Data::of(context.host);
            let kept = data.replace(context.host, &own, &start, &peer_url)?;
            if let Some(kept) = kept {
                context.report.say(&format!("what was there is kept in {}", kept.display()));
            }
            Ok(())
        },
    )
}

/// etcd itself says that it has the snapshot's revision, raised.
fn proven(marker: &Marker) -> Wait {
    let wanted = marker.revision + BUMP;
    let awaited = Awaited {
        id: "etcd-restored".into(),
        what: format!("revision {wanted} or later"),
        limit: std::time::Duration::from_secs(30),
        look: health::LOOK.into(),
    };
    Wait::new(awaited, move |_| {
        Ok(match etcdctl::status()?.revision {
            found if found >= wanted => Seen::Ready,
            found => Seen::not_yet(format!("etcd has revision {found}")),
        })
    })
}

/// Everything that remembers the cluster as it was is started anew; then the restore is done.
fn control_plane(marker: &Marker, cluster: &Cluster) -> Guarded {
    let (id, cluster) = (marker.id.clone(), cluster.clone());
    Guarded::new(
        "control-plane-restart",
        move |context| {
            let unfinished = Marker::read(context.host)?.is_some_and(|marker| marker.id == id);
            Ok(if unfinished {
                Status::Differs(Change::new("start the control plane of this node anew"))
            } else {
                Status::Done
            })
        },
        move |context| {
            restart(context, &cluster)?;
            fs::remove(&marker::path(context.host))
        },
    )
}

fn restart(context: &Context<'_>, cluster: &Cluster) -> Result<()> {
    for component in Component::ALL {
        if fs::exists(&context.host.path(component.manifest())) {
            StaticPod::new(component, cluster).restart(context)?;
            context.report.say(&format!("{} was started anew", component.pod()));
        }
    }
    Ok(())
}

/// They begin anew together: alone, this one waits for them in vain.
fn call_the_members(tool: &Tool, cluster: &Cluster, node: &Node) {
    let members = others(cluster, Role::Etcd, node);
    if !members.is_empty() {
        tool.report.say(&format!(
            "run the same with the same file on the other members, {members}, now: etcd starts \
             when more than half of them do"
        ));
    }
}

/// What remembers the cluster as it was and cannot be started anew from here.
fn tell_the_planes(tool: &Tool, cluster: &Cluster, node: &Node) {
    let planes = others(cluster, Role::ControlPlane, node);
    if !planes.is_empty() {
        tool.report.say(&format!(
            "on the other control planes, {planes}, start its pods anew as well: `crictl ps -q \
             --name 'kube-(apiserver|controller-manager|scheduler)' | xargs crictl stop`"
        ));
    }
}

/// The names of the other nodes with `role`.
fn others(cluster: &Cluster, role: Role, node: &Node) -> String {
    let with = cluster.with_role(role).filter(|other| other.name != node.name);
    with.map(|other| other.name.as_str()).collect::<Vec<_>>().join(", ")
}
