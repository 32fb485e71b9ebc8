//! `kpki renew`: give what ends soon a longer life, one after the other, and see each at work
//! before the next.

mod material;
mod record;
mod renewal;
mod works;

use std::rc::Rc;

use khost::{Error, Host, Result, StepList, Tool, engine, error::Exit, fs};
use kspec::{
    Cluster, Node,
    state::{PkiState, State as _},
};
use time::OffsetDateTime;

use self::renewal::Renewal;
use crate::{
    authority::Rules,
    inventory::{self, Issuer, Item, Keeper, State},
    leaf::Leaf,
    record::Record,
};

/// Days that a certificate of the cluster is issued for: kubeadm's own, as kcp configures it
/// (`certificateValidityPeriod`).
const CLUSTER_DAYS: u32 = 365;

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Request {
    /// Names from `kpki status`; these are renewed whatever their life. Without: all that are due
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Due is what ends within DAYS, instead of `pki.renew-before-days`
    #[arg(long, value_name = "DAYS", conflicts_with = "names")]
    within: Option<u32>,
    /// Only show what would be renewed; exits 3 when there is something
    #[arg(long)]
    plan: bool,
}

/// What every renewal needs to know.
#[derive(Debug)]
struct World {
    cluster: Cluster,
    node: Node,
    rules: Rules,
    leaves: Vec<Leaf>,
}

/// Renew them.
///
/// # Errors
/// `certificate-unknown`, `within-too-long`, `renewal-unsupported`; `renewal-undone` and
/// `renewal-not-working` when what uses a certificate does not work with the new one;
/// `renewal-elsewhere` when all but those were renewed that only another node can issue.
pub(crate) fn run(tool: &Tool, request: &Request) -> Result<Exit> {
    if !request.plan {
        tool.needs_root("renew")?;
        tool.alone()?;
    }
    let cluster = tool.cluster()?;
    let node = tool.node(&cluster)?;
    let mut rules = Rules::new(&cluster, OffsetDateTime::now_utc())?;
    rules.renew_before_days = request.within.unwrap_or(rules.renew_before_days);
    let shortest = CLUSTER_DAYS.min(rules.validity_days);
    if rules.renew_before_days >= shortest {
        return Err(Error::input(
            "within-too-long",
            format!("what is renewed would be due again at once: it lasts {shortest} days"),
        )
        .hint(format!("choose fewer than {shortest} days")));
    }
    let mut items = inventory::items(&tool.host, &cluster, node)?;
    chosen(&mut items, &request.names)?;
    items.sort_by_key(|item| place(item.name));

    let etcds = crate::certificates(tool)?;
    let leaves = etcds.as_ref().map(|(_, leaves)| leaves.clone()).unwrap_or_default();
    let world = Rc::new(World { cluster: cluster.clone(), node: node.clone(), rules, leaves });
    let mut steps = StepList::new();
    let mut elsewhere = Vec::new();
    for item in items {
        match item.keeper {
            Keeper::Kpki | Keeper::Kubelet if item.is_authority() => {} // see `rotate-ca`
            Keeper::Kpki | Keeper::Kubelet => {
                let forced = request.names.iter().any(|name| name == item.name);
                steps.add(Renewal::new(&world, item, forced));
            }
            Keeper::Import | Keeper::Nobody => elsewhere.push(item),
        }
    }
    if let Some((authority, leaves)) = &etcds
        && fs::exists(&tool.host.path(PkiState::PATH))
        && can_be_recorded(&tool.host, &elsewhere)?
    {
        steps.add(Record::new(authority, leaves));
    }
    let exit = if request.plan {
        engine::plan(&steps, &tool.context())?
    } else {
        let exit = engine::apply("kpki", &steps, &tool.context())?;
        if request.names.is_empty() {
            record::tidy(&tool.host)?;
        }
        exit
    };
    refuse_elsewhere(tool, &world, &elsewhere)?;
    Ok(exit)
}

/// Whether the record of etcd's certificates can be told: one that only another node can issue, and
/// that nobody can read, is refused later.
fn can_be_recorded(host: &Host, elsewhere: &[Item]) -> Result<bool> {
    for item in elsewhere.iter().filter(|item| item.issuer == Issuer::Etcd) {
        if !matches!(item.read(host)?.cert, Some(Ok(_))) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Issue what etcd's authority did not, for a rotation: each seen at work before the next.
pub(crate) fn add_etcd(steps: &mut StepList, tool: &Tool) -> Result<()> {
    let cluster = tool.cluster()?;
    let node = tool.node(&cluster)?.clone();
    let rules = Rules::new(&cluster, OffsetDateTime::now_utc())?;
    let leaves = crate::certificates(tool)?.map(|(_, leaves)| leaves).unwrap_or_default();
    let items = inventory::items(&tool.host, &cluster, &node)?;
    let world = Rc::new(World { cluster, node, rules, leaves });
    for item in items {
        if item.issuer == Issuer::Etcd && !item.is_authority() {
            steps.add(Renewal::new(&world, item, false));
        }
    }
    Ok(())
}

/// Leave those with these names, when there are any.
fn chosen(items: &mut Vec<Item>, names: &[String]) -> Result<()> {
    for name in names {
        let Some(item) = items.iter().find(|item| item.name == name) else {
            let known: Vec<_> = items.iter().map(|item| item.name).collect();
            return Err(Error::input(
                "certificate-unknown",
                format!("this node has no certificate `{name}`"),
            )
            .hint(format!("choose one of: {}", known.join(", "))));
        };
        if item.is_authority() {
            return Err(Error::input("renewal-unsupported", format!("`{name}` is an authority"))
                .because("whoever trusts it would have to be told of another")
                .hint("`kpki rotate-ca` replaces etcd's; kubeadm's last ten years"));
        }
    }
    if !names.is_empty() {
        let copied = names.iter().any(|name| name == "admin.conf");
        items.retain(|item| {
            names.iter().any(|name| name == item.name) || (copied && item.name == "root-kubeconfig")
        });
    }
    Ok(())
}

/// The order of renewal: what others need to work comes before them, and the kubelet, which starts
/// the static pods, before these.
fn place(name: &str) -> usize {
    const ORDER: [&str; 14] = [
        "etcd-ca",
        "etcd-member",
        "etcd-admin",
        "etcd-node",
        "kubelet-client",
        "kubelet-server",
        "apiserver",
        "admin.conf",
        "super-admin.conf",
        "root-kubeconfig",
        "apiserver-kubelet-client",
        "front-proxy-client",
        "controller-manager.conf",
        "scheduler.conf",
    ];
    ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len())
}

/// Say what this node cannot issue and is due.
fn refuse_elsewhere(tool: &Tool, world: &World, items: &[Item]) -> Result<()> {
    let mut due = Vec::new();
    let mut imported = false;
    for item in items {
        let held = item.read(&tool.host)?;
        let rules = world.rules;
        let state = item.state(&tool.host, &held, rules.now, rules.renew_before_days)?;
        if let Some(why) = state.reason()
            && !(state == State::Missing && item.keeper == Keeper::Nobody)
        {
            due.push(format!("{}: {why}", item.name));
            imported |= item.keeper == Keeper::Import;
        }
    }
    if due.is_empty() {
        return Ok(());
    }
    let (node, maker) = (&world.node.name, world.cluster.with_role(kspec::Role::Etcd).next());
    let maker = maker.map(|maker| maker.name.as_str()).unwrap_or_default();
    Err(Error::host("renewal-elsewhere", "not everything can be renewed on this node")
        .because(due.join("\n"))
        .hint(if imported {
            format!("run `kpki export {node}` on node `{maker}`, and `kpki import` here with what it says")
        } else {
            "see docs/kpki.md, Authorities".into()
        }))
}
