//! What must be so before `kubeadm init` or `kubeadm join` is run: kubeadm would find out minutes
//! later, or not say what is wrong.

use std::{collections::BTreeSet, time::Duration};

use khost::{
    Cmd, Context, Error, Host, Result, fs,
    steps::containers,
    wait::{Awaited, Seen, until},
};
use kspec::paths::KUBELET_CONF;

use super::present;
use crate::{etcd, inputs::Inputs, kubeadm, kubeadm_config, marker::Marker};

/// Ports of a control plane and the programs that listen there, as the kernel names them: by at
/// most 15 bytes.
const PORTS: [(u16, &str); 4] = [
    (6443, "kube-apiserver"),
    (10250, "kubelet"),
    (10257, "kube-controller"),
    (10259, "kube-scheduler"),
];

/// The one of a worker.
const PORTS_OF_WORKER: [(u16, &str); 1] = [(10250, "kubelet")];

/// Refuse to take over a control plane that was made by somebody else.
///
/// # Errors
/// `cluster-there-already`.
pub(crate) fn refuse_another_cluster(host: &Host) -> Result<()> {
    let there = present(host);
    let Some(manifest) = there.first() else { return Ok(()) };
    if Marker::read(host)? != Marker::default() {
        return Ok(()); // ours, perhaps half made
    }
    Err(Error::host("cluster-there-already", "this machine is a control plane already")
        .because(format!("`{}` is there, and kcp did not make it", manifest.display()))
        .hint(
            "take it apart with what made it, such as `kubeadm reset`; kcp takes no cluster over",
        ))
}

/// Refuse to let a machine join that is part of a cluster which somebody else made it part of.
///
/// # Errors
/// `cluster-there-already`.
pub(crate) fn refuse_a_member_of_another_cluster(host: &Host) -> Result<()> {
    if !fs::exists(&host.path(KUBELET_CONF)) || Marker::read(host)? != Marker::default() {
        return Ok(()); // none, or ours, perhaps half made
    }
    Err(Error::host("cluster-there-already", "this machine is part of a cluster already")
        .because(format!("`{KUBELET_CONF}` is there, and kcp did not make it"))
        .hint("take it out with what made it, such as `kubeadm reset`, then `kcp apply`"))
}

/// Everything that kubeadm needs to make a control plane of this machine is there.
///
/// # Errors
/// `port-taken`, `image-missing`, `etcd-unreachable`, `etcd-certificate-refused`.
pub(crate) fn fit(context: &Context<'_>, inputs: &Inputs) -> Result<()> {
    ports_free(&PORTS)?;
    images_there(context.host)?;
    etcd_answers(context, inputs)
}

/// Everything that kubeadm needs to make a worker of it.
///
/// # Errors
/// `port-taken`.
pub(crate) fn fit_for_worker() -> Result<()> {
    ports_free(&PORTS_OF_WORKER)
}

/// Each port is free, or has the program that belongs there: from an interrupted run.
fn ports_free(ports: &[(u16, &str)]) -> Result<()> {
    let listening = Cmd::new("ss").args(["-H", "-t", "-l", "-n", "-p"]).run()?.stdout;
    for &(port, program) in ports {
        let Some(holder) = holder(&listening, port) else { continue };
        if holder.name != program {
            let taken = format!("port {port} is taken by `{}` (pid {})", holder.name, holder.pid);
            return Err(Error::host("port-taken", taken)
                .because(format!("{program} listens there on a node of a cluster"))
                .hint(format!("stop it: `ps -fp {}`; then run `kcp apply` again", holder.pid)));
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Holder<'a> {
    name: &'a str,
    pid: &'a str,
}

/// Who listens at `port`, in what `ss` says: `LISTEN 0 4096 *:6443 *:* users:(("NAME",pid=1,fd=3))`.
fn holder(listening: &str, port: u16) -> Option<Holder<'_>> {
    let end = format!(":{port}");
    let line = listening
        .lines()
        .find(|line| line.split_whitespace().nth(3).is_some_and(|local| local.ends_with(&end)))?;
    let (_, users) = line.split_once("users:((\"")?;
    let (name, rest) = users.split_once('"')?;
    let pid = rest.split_once("pid=")?.1;
    Some(Holder { name, pid: pid.split(',').next()? })
}

/// Whatever pods of the control plane are made of is in containerd: nothing has to be pulled, which
/// on a node without a way out takes minutes to fail.
fn images_there(host: &Host) -> Result<()> {
    let config = host.path(kubeadm_config::PATH);
    let wanted = kubeadm::render(&["config", "images", "list"], &config, &std::env::temp_dir())?;
    let Some(present) = containers::images(host)? else {
        return Err(Error::host("containerd-stopped", "containerd does not run")
            .hint("run `knode apply`, then this again"));
    };
    let missing = missing(&wanted, &present);
    let Some(first) = missing.first() else { return Ok(()) };
    Err(Error::host("image-missing", format!("containerd does not have the image {first}"))
        .because(format!("the control plane needs {}", missing.join(", ")))
        .hint(
            "run `kfetch apply` and `knode apply`, which bring the images, then `kcp apply` again",
        ))
}

fn missing<'a>(wanted: &'a str, present: &BTreeSet<String>) -> Vec<&'a str> {
    wanted.split_whitespace().filter(|image| !present.contains(*image)).collect()
}

/// etcd answers the API server's certificate. One that is about to start is waited for.
fn etcd_answers(context: &Context<'_>, inputs: &Inputs) -> Result<()> {
    let awaited = Awaited {
        id: "etcd-answers".into(),
        what: format!("etcd on {}", inputs.etcd.endpoints.join(", ")),
        limit: Duration::from_secs(60),
        look: "ketcd check".into(),
    };
    let mut refused = None;
    until(context, &awaited, || {
        Ok(match etcd::unhealthy(context.host, inputs)? {
            None => Seen::Ready,
            Some(why) if etcd::is_about_certificates(&why) => {
                refused = Some(why); // time will not mend it
                Seen::Ready
            }
            Some(why) => Seen::NotYet(why),
        })
    })
    .map_err(|error| {
        Error::host("etcd-unreachable", "the API server's etcd does not answer")
            .because(error.chain())
            .hint("run `ketcd check`, then `kcp apply` again")
    })?;
    match refused {
        None => Ok(()),
        Some(why) => Err(certificate_refused(&why)),
    }
}

fn certificate_refused(why: &str) -> Error {
    Error::host("etcd-certificate-refused", "etcd and the API server do not trust each other")
        .because(why.to_owned())
        .hint("run `kpki apply` and `ketcd apply`, then `kcp apply` again")
}

#[cfg(test)]
mod tests {
    use khost::Host;

    use super::{
        Holder, Marker, holder, missing, refuse_a_member_of_another_cluster, refuse_another_cluster,
    };

    #[test]
    fn who_has_a_port_is_told_from_what_ss_says() {
        let said = "LISTEN 0 4096 127.0.0.1:10248 0.0.0.0:* users:((\"kubelet\",pid=7,fd=3))\n\
                    LISTEN 0 5 *:10259 *:* users:((\"python3\",pid=4711,fd=3),(\"x\",pid=1,fd=3))\n\
                    LISTEN 0 5 [::]:16443 [::]:* users:((\"other\",pid=9,fd=3))\n";
        assert_eq!(holder(said, 10259), Some(Holder { name: "python3", pid: "4711" }));
        assert_eq!(holder(said, 6443), None);
        assert_eq!(holder(said, 10257), None);
    }

    #[test]
    fn images_are_missed_by_their_whole_name() {
        let present = ["registry.k8s.io/kube-apiserver:v1.33.3".to_owned()].into();
        let wanted = "registry.k8s.io/kube-apiserver:v1.33.3\nregistry.k8s.io/kube-proxy:v1.33.3\n";
        assert_eq!(missing(wanted, &present), ["registry.k8s.io/kube-proxy:v1.33.3"]);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "another kubeadm's hand, in a test")]
    fn a_control_plane_of_somebody_else_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        refuse_another_cluster(&host).unwrap();
        let manifests = root.path().join("etc/kubernetes/manifests");
        std::fs::create_dir_all(&manifests).unwrap();
        std::fs::write(manifests.join("kube-scheduler.yaml"), "theirs").unwrap();
        let error = refuse_another_cluster(&host).unwrap_err();
        assert_eq!(error.code(), "cluster-there-already");
        std::fs::create_dir_all(root.path().join("var/lib/k8steps")).unwrap();
        let ours = Marker { names: "n".into(), ..Marker::default() };
        ours.write(&host).unwrap();
        refuse_another_cluster(&host).unwrap();
    }
    #[test]
    #[expect(clippy::disallowed_methods, reason = "another kubeadm's hand, in a test")]
    fn a_node_of_another_cluster_does_not_join_this_one() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        refuse_a_member_of_another_cluster(&host).unwrap();
        for dir in ["etc/kubernetes", "var/lib/k8steps"] {
            std::fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        std::fs::write(root.path().join("etc/kubernetes/kubelet.conf"), "theirs").unwrap();
        let error = refuse_a_member_of_another_cluster(&host).unwrap_err();
        assert_eq!(error.code(), "cluster-there-already");
        assert!(error.chain().contains("kubelet.conf` is there"), "{}", error.chain());
        Marker { joined: true, ..Marker::default() }.write(&host).unwrap();
        refuse_a_member_of_another_cluster(&host).unwrap();
    }
}
