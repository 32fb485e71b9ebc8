//! Seeing that what uses a certificate works with the one that is there now, and starting it anew
//! where it would not read it by itself.

use std::time::Duration;

use khost::{
    Context, Host, Result, Step as _, fs,
    http::{self, Trust},
    static_pod::{self, Component, StaticPod},
    systemd,
    wait::{Awaited, Seen, until},
};
use kspec::{
    paths::{ADMIN_CONF, ETCD_CERT_DIR, KUBE_CERT_DIR},
    state::{EtcdState, State as _},
};

use super::World;
use crate::{
    holder::Holder,
    inventory::{Issuer, Item},
};

const ETCD: &str = "etcd.service";
const KUBELET: &str = "kubelet.service";
/// The API server looks at its certificate when the file changes, and once a minute
/// (`dynamiccertificates`, `FileRefreshDuration`).
const RELOAD: Duration = Duration::from_secs(70);
/// A new connection to the kubelet takes no longer.
const REACH: Duration = Duration::from_secs(10);

/// Wait until what uses `item` works with it. What does not run is not waited for.
///
/// # Errors
/// `timeout`, with what was seen last.
pub(super) fn seen(world: &World, context: &Context<'_>, item: &Item, good: bool) -> Result<()> {
    if !context.host.is_live() {
        return Ok(()); // a tree has only files
    }
    let pod = |component| StaticPod::new(component, &world.cluster);
    let api_server = pod(Component::ApiServer);
    match item.name {
        "etcd-member" | "etcd-admin" => {
            if systemd::show(ETCD)?.active {
                etcd(context, item, "https://127.0.0.1:2379", good)?;
            }
            Ok(())
        }
        "etcd-node" => {
            for url in endpoints(context.host)?.into_iter().take(1) {
                etcd(context, item, &url, good)?;
            }
            // After its end the API server may need more than this to work again.
            if good { healthy(context, &api_server, good) } else { Ok(()) }
        }
        "kubelet-client" | "kubelet-server" => kubelet(context, item),
        "apiserver" => {
            if runs(context, &api_server, good)? && !serves(context, world, item)? {
                api_server.restart(context)?;
            }
            healthy(context, &api_server, good)
        }
        "apiserver-kubelet-client" => {
            // It may hold on to the old one for minutes; as long as that is good, no matter.
            if runs(context, &api_server, good)? && !reaches_the_kubelet(context, world)? {
                api_server.restart(context)?;
            }
            healthy(context, &api_server, good)
        }
        "front-proxy-client" => healthy(context, &api_server, good),
        "controller-manager.conf" => restarted(context, &pod(Component::ControllerManager), good),
        "scheduler.conf" => restarted(context, &pod(Component::Scheduler), good),
        _ => {
            if runs(context, &api_server, good)? {
                accepted(context, world, item)?;
            }
            Ok(())
        }
    }
}

/// Whether the kubelet runs `pod`. One that it has given up on for a while, because of what has
/// ended, is tried at once again.
fn runs(context: &Context<'_>, pod: &StaticPod, good: bool) -> Result<bool> {
    if !systemd::show(KUBELET)?.active || !pod.is_wanted(context.host) {
        return Ok(false);
    }
    if !good {
        static_pod::try_at_once(context.host, std::slice::from_ref(pod))?;
    }
    Ok(true)
}

fn healthy(context: &Context<'_>, pod: &StaticPod, good: bool) -> Result<()> {
    if runs(context, pod, good)? { pod.healthy().apply(context) } else { Ok(()) }
}

fn restarted(context: &Context<'_>, pod: &StaticPod, good: bool) -> Result<()> {
    if !runs(context, pod, good)? {
        return Ok(());
    }
    pod.restart(context)
}

/// Client URLs of etcd, this node's first.
fn endpoints(host: &Host) -> Result<Vec<String>> {
    let text = fs::read_text(&host.path(EtcdState::PATH))?.unwrap_or_default();
    let state: Option<EtcdState> = serde_json::from_str(&text).ok();
    Ok(match state {
        Some(state) if state.member.is_some() => vec!["https://127.0.0.1:2379".into()],
        Some(state) => state.endpoints,
        None => Vec::new(),
    })
}

/// What `item` says to a server, and whom it trusts.
fn trust(host: &Host, item: &Item) -> Result<Trust> {
    let ca = match item.issuer {
        Issuer::Etcd => format!("{ETCD_CERT_DIR}/ca.pem"),
        _ => format!("{KUBE_CERT_DIR}/ca.crt"),
    };
    Ok(Trust { ca: fs::read(&host.path(ca))?, identity: item.holder.identity(host)? })
}

/// etcd at `url` takes `item` as a client's certificate, serves it if it is its own, and is
/// healthy; after the old one had ended, its own health may need other members, and is not asked.
fn etcd(context: &Context<'_>, item: &Item, url: &str, good: bool) -> Result<()> {
    let awaited = Awaited {
        id: format!("{}-works", item.name),
        what: format!("etcd on {url} with the new {}", item.name),
        limit: Duration::from_secs(60),
        look: "journalctl -u etcd -n 50".into(),
    };
    let trust = trust(context.host, item)?;
    let own = match item.read(context.host)?.cert {
        Some(Ok(seen)) if item.name == "etcd-member" => Some(seen),
        _ => None,
    };
    let alone = url.contains("127.0.0.1");
    until(context, &awaited, || {
        Ok(match http::get(&http::client(&trust)?, &format!("{url}/health")) {
            Err(why) => Seen::NotYet(why),
            Ok(answer) => match (&own, answer.certificate) {
                (Some(own), Some(served)) if !own.is(&served) => {
                    Seen::not_yet("it still serves the old one")
                }
                _ if answer.status == 200 || !(good && alone) => Seen::Ready,
                _ => Seen::NotYet(format!("it answers {}: {}", answer.status, answer.body.trim())),
            },
        })
    })
}

/// Whether the API server comes to serve `item` by itself.
fn serves(context: &Context<'_>, world: &World, item: &Item) -> Result<bool> {
    let url = Component::ApiServer.url(&world.cluster);
    let what = format!("the API server on {url} with its new certificate");
    let Some(Ok(own)) = item.read(context.host)?.cert else { return Ok(true) };
    let trust = Trust { ca: trust(context.host, item)?.ca, identity: None };
    comes(context, "kube-apiserver-reloaded", &what, RELOAD, || {
        Ok(match http::get(&http::client(&trust)?, &format!("{url}/livez")) {
            Err(why) => Seen::NotYet(why),
            Ok(answer) if answer.certificate.as_ref().is_some_and(|served| own.is(served)) => {
                Seen::Ready
            }
            Ok(_) => Seen::not_yet("it still serves the old one"),
        })
    })
}

/// Whether the API server comes to reach this node's kubelet, which takes only whom it trusts. True
/// where nobody can ask it.
fn reaches_the_kubelet(context: &Context<'_>, world: &World) -> Result<bool> {
    let admin = Holder::Kubeconfig(ADMIN_CONF.into());
    let identity = admin.identity(context.host)?;
    if identity.is_none() {
        return Ok(true);
    }
    let ca = fs::read(&context.host.path(KUBE_CERT_DIR).join("ca.crt"))?;
    let client = http::client(&Trust { ca, identity })?;
    let url = Component::ApiServer.url(&world.cluster);
    let url = format!("{url}/api/v1/nodes/{}/proxy/healthz", world.node.name);
    comes(context, "kubelet-reached", "the API server at the kubelet", REACH, || {
        Ok(match http::get(&client, &url) {
            Ok(answer) if answer.status == 200 => Seen::Ready,
            Ok(answer) => Seen::NotYet(format!("it answers {}", answer.status)),
            Err(why) => Seen::NotYet(why),
        })
    })
}

/// Wait, but only so long.
fn comes(
    context: &Context<'_>,
    id: &str,
    what: &str,
    limit: Duration,
    probe: impl FnMut() -> Result<Seen>,
) -> Result<bool> {
    let look = "journalctl -u kubelet -n 50".into();
    let awaited = Awaited { id: id.into(), what: what.into(), limit, look };
    match until(context, &awaited, probe) {
        Ok(()) => Ok(true),
        Err(error) if error.code() == "timeout" => Ok(false),
        Err(error) => Err(error),
    }
}

/// The API server takes `item` as a client's certificate.
fn accepted(context: &Context<'_>, world: &World, item: &Item) -> Result<()> {
    let url = Component::ApiServer.url(&world.cluster);
    let awaited = Awaited {
        id: format!("{}-works", item.name),
        what: format!("the API server on {url}, asked with the new {}", item.name),
        limit: Duration::from_secs(180),
        look: "journalctl -u kubelet -n 50".into(),
    };
    let trust = trust(context.host, item)?;
    until(context, &awaited, || {
        Ok(match http::get(&http::client(&trust)?, &format!("{url}/readyz")) {
            Ok(answer) if answer.status == 200 => Seen::Ready,
            Ok(answer) if answer.status == 401 => Seen::not_yet("it does not take the certificate"),
            Ok(answer) => Seen::NotYet(format!("it answers {}", answer.status)),
            Err(why) => Seen::NotYet(why),
        })
    })
}

/// The kubelet reads its certificates at its start.
fn kubelet(context: &Context<'_>, item: &Item) -> Result<()> {
    let unit = systemd::show(KUBELET)?;
    if unit.enabled != "enabled" && !unit.active {
        return Ok(());
    }
    systemd::restart(KUBELET)?;
    let awaited = Awaited {
        id: "kubelet-healthy".into(),
        what: format!("the kubelet with its new {}", item.name),
        limit: Duration::from_secs(60),
        look: "journalctl -u kubelet -n 50".into(),
    };
    let client = http::client(&Trust::default())?;
    until(context, &awaited, || {
        // It makes the one it serves by itself.
        if !fs::exists(&context.host.path(item.holder.path())) {
            return Ok(Seen::not_yet("it has not made itself a certificate"));
        }
        Ok(match http::get(&client, "http://127.0.0.1:10248/healthz") {
            Ok(answer) if answer.status == 200 => Seen::Ready,
            Ok(answer) => Seen::NotYet(format!("it answers {}", answer.status)),
            Err(why) => Seen::NotYet(why),
        })
    })
}
