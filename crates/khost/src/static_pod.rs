//! The control plane's static pods: whether they work, and starting one anew.

mod containers;
mod last_words;
mod manifest;
mod worked;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::{Duration, Instant},
};

use kspec::{
    Cluster,
    paths::{AUDIT_DIR, ETCD_CERT_DIR, KUBE_CERT_DIR, KUBE_DIR, MANIFEST_DIR},
};

pub use last_words::last_words;

use crate::{
    Context, Host, Result, Thing, fs,
    http::{self, Answer, Trust},
    steps::{containers::signal, stamp::Stamp, wait::Wait},
    systemd,
    wait::{Awaited, Seen, until},
};

const KUBELET: &str = "kubelet.service";

/// How long a container may take to end before it is killed: a static pod's grace period.
const GRACE: Duration = Duration::from_secs(30);

/// The same for an API server that takes no connections any more: it then waits, for a minute, for
/// watches that nobody ends (`http.Server.Shutdown`), and serves nobody. Requests that were under
/// way have had their time.
const DEAF_GRACE: Duration = Duration::from_secs(1);

/// One of the programs that kubeadm runs as static pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
}

impl Component {
    /// All of them, in the order kubeadm makes them.
    pub const ALL: [Self; 3] = [Self::ApiServer, Self::ControllerManager, Self::Scheduler];

    /// Name of the pod, without the node's, and of its only container.
    pub fn pod(self) -> &'static str {
        match self {
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
        }
    }

    /// The manifest the kubelet runs it from.
    pub fn manifest(self) -> PathBuf {
        PathBuf::from(MANIFEST_DIR).join(format!("{}.yaml", self.pod()))
    }

    /// `https://ADDRESS:PORT` at which this node asks it: loopback, unless the operator bound it
    /// to one address (kubespray's `kube_apiserver_endpoint`).
    pub fn url(self, cluster: &Cluster) -> String {
        let given = &cluster.control_plane;
        let (args, port) = match self {
            Self::ApiServer => (&given.api_server_args, 6443),
            Self::ControllerManager => (&given.controller_manager_args, 10257),
            Self::Scheduler => (&given.scheduler_args, 10259),
        };
        let bound = args.get("bind-address").and_then(|given| given.parse().ok());
        let own = bound.filter(|address: &IpAddr| !address.is_unspecified());
        let address = SocketAddr::new(own.unwrap_or(IpAddr::from([127, 0, 0, 1])), port);
        format!("https://{address}")
    }

    /// The files it reads once, at its start. Others it reads again by itself when they change: its
    /// serving certificate and the authorities of clients (apiserver's `dynamiccertificates`), its
    /// certificates for kubelets (client-go's `ReloadTLSFiles`) and for etcd (at each handshake).
    fn inputs(self) -> Vec<PathBuf> {
        let paths: &[(&str, &str)] = match self {
            Self::ApiServer => &[
                (ETCD_CERT_DIR, "ca.pem"),
                (KUBE_CERT_DIR, "sa.pub"),
                (KUBE_CERT_DIR, "sa.key"),
                (KUBE_CERT_DIR, "secrets_encryption.yaml"),
                (AUDIT_DIR, "apiserver-audit-policy.yaml"),
                (AUDIT_DIR, "apiserver-audit-webhook-config.yaml"),
            ],
            Self::ControllerManager => &[
                (KUBE_DIR, "controller-manager.conf"),
                (KUBE_CERT_DIR, "ca.crt"),
                (KUBE_CERT_DIR, "sa.key"),
            ],
            Self::Scheduler => {
                &[(KUBE_DIR, "scheduler.conf"), (KUBE_DIR, "kubescheduler-config.yaml")]
            }
        };
        paths.iter().map(|(dir, name)| PathBuf::from(dir).join(name)).collect()
    }

    fn name(self) -> &'static str {
        match self {
            Self::ApiServer => "API server",
            Self::ControllerManager => "controller manager",
            Self::Scheduler => "scheduler",
        }
    }
}

/// Containers that were told to end.
#[derive(Debug)]
struct Ending {
    containers: Vec<String>,
    since: Instant,
    /// Since when it takes no connections any more.
    deaf: Option<Instant>,
    killed: bool,
}

impl Ending {
    fn of(containers: &[String]) -> Self {
        Self { containers: containers.to_vec(), since: Instant::now(), deaf: None, killed: false }
    }
}

/// The kubelet, which is started anew once a static pod has ended. It then starts the next one at
/// once, which it puts off else: for 10 s when the manifest is another one, longer and longer when
/// the container has ended before. And its watches, which wait longer and longer while there is no
/// API server, begin anew: it hears of new pods soon after that one serves. Pods go on meanwhile.
#[derive(Debug, Default)]
struct Kubelet {
    anew: bool,
}

impl Kubelet {
    /// Once, and only where it runs; without waiting for it.
    fn begin_anew(&mut self) -> Result<()> {
        if !self.anew && systemd::show(KUBELET)?.active {
            systemd::forget_failures(KUBELET)?;
            systemd::queue("restart", KUBELET)?;
        }
        self.anew = true;
        Ok(())
    }
}

/// One static pod of this node.
#[derive(Debug, Clone)]
pub struct StaticPod {
    component: Component,
    /// Its health endpoint.
    url: String,
    /// Longest time until it is healthy.
    limit: Duration,
    stamp: Stamp,
}

impl StaticPod {
    /// `component`, listening where `cluster` has it.
    pub fn new(component: Component, cluster: &Cluster) -> Self {
        let (path, seconds) = match component {
            Component::ApiServer => ("readyz", 180),
            Component::ControllerManager | Component::Scheduler => ("healthz", 120),
        };
        Self {
            component,
            url: format!("{}/{path}", component.url(cluster)),
            limit: Duration::from_secs(seconds),
            stamp: Stamp { name: component.pod().into(), inputs: component.inputs() },
        }
    }

    /// Wait until it is healthy.
    pub fn healthy(&self) -> Wait {
        self.clone().wait("healthy", Self::ask)
    }

    /// Wait until it is healthy but for one of the things that an API server does at its start: `hook`
    /// is one that `/readyz?verbose` lists as `poststarthook/HOOK`.
    pub fn healthy_but_for(&self, hook: &str) -> Wait {
        let url = format!("{}?exclude=poststarthook/{hook}", self.url);
        Self { url, ..self.clone() }.wait("begun", Self::ask)
    }

    /// Wait until it takes connections: its program has started.
    pub fn listening(&self) -> Wait {
        self.clone().wait("listening", |pod, context| {
            Ok(match http::takes_connections(&pod.url) {
                Ok(()) => Seen::Ready,
                Err(seen) => pod.not_yet(context, &seen),
            })
        })
    }

    fn wait(self, end: &str, look: fn(&Self, &Context<'_>) -> Result<Seen>) -> Wait {
        let what = format!("the {} on {}", self.component.name(), self.url);
        Wait::new(self.awaited(end, what), move |context| look(&self, context))
    }

    /// Whether it is healthy at this moment.
    pub fn is_healthy(&self, host: &Host) -> Result<bool> {
        Ok(self.asked(host)?.is_ok_and(|answer| answer.status == 200))
    }

    /// Whether the kubelet is to run it: its manifest is there.
    pub fn is_wanted(&self, host: &Host) -> bool {
        fs::exists(&host.path(self.component.manifest()))
    }

    /// Whether its container runs.
    pub fn runs(&self, host: &Host) -> Result<bool> {
        Ok(!self.component.running(host)?.is_empty())
    }

    /// Why it must be started anew, if it must: files that it reads only at its start differ from
    /// those it has read, or (in a plan) a step before `step`, its own, changes one.
    pub fn stale(&self, context: &Context<'_>, step: &str) -> Result<Option<String>> {
        self.stamp.stale(context, step)
    }

    /// What noting its files touches.
    pub fn stamp(&self) -> Thing {
        self.stamp.thing()
    }

    /// Note that it runs with its files as they are now, after `start`, which starts it.
    pub fn started_by(&self, host: &Host, start: impl FnOnce() -> Result<()>) -> Result<()> {
        let digest = self.stamp.digest(host)?;
        start()?;
        self.stamp.write(host, digest)
    }

    /// End its container, so that the kubelet starts another, which reads the files as they are
    /// now; wait until that one is healthy, and note the files.
    ///
    /// # Errors
    /// `timeout`, with what was seen last and the container's own last words; `containerd-stopped`.
    pub fn restart(&self, context: &Context<'_>) -> Result<()> {
        self.started_by(context.host, || self.replaced(context))
    }

    fn replaced(&self, context: &Context<'_>) -> Result<()> {
        let host = context.host;
        let before = self.component.running(host)?;
        signal(host, &before, "SIGTERM")?;
        let mut ending = Ending::of(&before);
        let what = format!("a new {} on {}", self.component.name(), self.url);
        let mut kubelet = Kubelet::default();
        until(context, &self.awaited("restarted", what), || {
            let running = self.component.running(host)?;
            if running.iter().any(|container| before.contains(container)) {
                self.hurry(host, &mut ending)?;
                return Ok(Seen::not_yet("the one before has not ended"));
            }
            kubelet.begin_anew()?;
            if running.is_empty() {
                return Ok(self.not_yet(context, "the kubelet has not started it"));
            }
            self.ask(context)
        })
    }

    /// End its container for good, where the kubelet is stopped and starts no other. An API server
    /// first takes its address out of the `kubernetes` Service: one that is killed is asked for by
    /// every client of the cluster for another 15 seconds (`DefaultEndpointReconcilerTTL`), and
    /// clients that meet it twice or three times wait longer and longer before they try again.
    ///
    /// # Errors
    /// `timeout`, `containerd-stopped`.
    pub fn end(&self, context: &Context<'_>) -> Result<()> {
        let host = context.host;
        let running = self.component.running(host)?;
        signal(host, &running, "SIGTERM")?;
        let mut ending = Ending::of(&running);
        let what = format!("the end of the {} on {}", self.component.name(), self.url);
        until(context, &self.awaited("ended", what), || {
            if self.component.running(host)?.is_empty() {
                return Ok(Seen::Ready);
            }
            self.hurry(host, &mut ending)?;
            Ok(Seen::not_yet("it has not ended"))
        })
    }

    /// Kill what was told to end and takes too long.
    fn hurry(&self, host: &Host, ending: &mut Ending) -> Result<()> {
        if self.component == Component::ApiServer && http::takes_connections(&self.url).is_err() {
            ending.deaf.get_or_insert_with(Instant::now);
        }
        let deaf = ending.deaf.is_some_and(|since| since.elapsed() > DEAF_GRACE);
        if !ending.killed && (deaf || ending.since.elapsed() > GRACE) {
            signal(host, &ending.containers, "SIGKILL")?;
            ending.killed = true;
        }
        Ok(())
    }

    /// One question; when there is no good answer, also what the container said last.
    fn ask(&self, context: &Context<'_>) -> Result<Seen> {
        Ok(match self.asked(context.host)? {
            Ok(answer) if answer.status == 200 => Seen::Ready,
            Ok(Answer { status, body, .. }) => {
                self.not_yet(context, &format!("it answers {status}: {}", failing(&body)))
            }
            Err(seen) => self.not_yet(context, &seen),
        })
    }

    /// Its answer, or why there is none. The API server must prove itself; the others make
    /// themselves a certificate at their start, so there is no authority to ask for.
    fn asked(&self, host: &Host) -> Result<std::result::Result<Answer, String>> {
        let mut trust = Trust::default();
        if self.component == Component::ApiServer {
            trust.ca = fs::read(&host.path(KUBE_CERT_DIR).join("ca.crt"))?;
            if trust.ca.is_none() {
                return Ok(Err("the cluster has no certificates yet".into()));
            }
        }
        Ok(http::get(&http::client(&trust)?, &self.url))
    }

    fn not_yet(&self, context: &Context<'_>, seen: &str) -> Seen {
        Seen::NotYet(format!("{seen}{}", context.explained(|| self.words(context.host))))
    }

    /// What the container said last, from a new line on.
    fn words(&self, host: &Host) -> String {
        last_words(host, &[self.component]).map(|words| format!("\n{words}")).unwrap_or_default()
    }

    fn awaited(&self, end: &str, what: String) -> Awaited {
        let look = "journalctl -u kubelet -n 50".into();
        Awaited { id: format!("{}-{end}", self.component.pod()), what, limit: self.limit, look }
    }
}

/// Where one of `pods` is to run and does not, start the kubelet anew: one that has given up on a
/// pod for a while, because of files that are good by now, has then forgotten how often it failed.
pub fn try_at_once(host: &Host, pods: &[StaticPod]) -> Result<()> {
    for pod in pods {
        if pod.is_wanted(host) && !pod.runs(host)? {
            return systemd::restart(KUBELET);
        }
    }
    Ok(())
}

/// The checks that fail in a list such as `[-]etcd failed: reason withheld`, or all of it.
fn failing(body: &str) -> String {
    let failing: Vec<_> = body.lines().filter(|line| line.starts_with("[-]")).collect();
    if failing.is_empty() { body.trim().to_owned() } else { failing.join(", ") }
}

#[cfg(test)]
mod tests;
