//! What the phases leave for each other on `node1`, an ordinary machine at 192.0.2.11 that is the
//! whole cluster. A test that needs something else changes that field.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use kspec::{
    Arch, SCHEMA, Sha256,
    paths::{ADMIN_CONF, CRI_SOCKET, ETCD_CERT_DIR, ETCD_DATA_DIR, STORE_DIR},
    state::{
        Artifacts, Capabilities, Certificate, CgroupVersion, ControlPlaneState, EtcdState, Facts,
        Family, FileArtifact, ImageArtifact, Kernel, Limits, Member, NodeState, Os, PkiState,
        Resolver, SelinuxMode,
    },
};

use serde_json::json;

use crate::Tree;

/// What kprep learns about the machine when it is an ordinary Debian that withholds nothing.
pub fn facts() -> Facts {
    let default = Ipv4Addr::new(192, 0, 2, 11);
    let address = IpAddr::from(default);
    let [id, version, name, release, resolv_conf] =
        ["debian", "12", "Debian 12", "6.1.0", "/etc/resolv.conf"].map(Into::into);
    Facts {
        schema: SCHEMA,
        node: "node1".into(),
        os: Os { id, version, name, family: Family::Debian },
        arch: Arch::Amd64,
        cpus: 2,
        memory_mib: 4096,
        address,
        access_address: address,
        default_ipv4: Some(default),
        default_ipv6: None,
        fallback_ipv4: default,
        fallback_ipv6: Ipv6Addr::LOCALHOST,
        kernel: Kernel {
            release,
            cgroup: CgroupVersion::V2,
            overlay: true,
            bridge_netfilter: true,
            conntrack_writable: true,
        },
        capabilities: Capabilities { sys_resource: true },
        limits: Limits { nofile: None },
        container: false,
        swap: false,
        selinux: SelinuxMode::Disabled,
        resolver: Resolver::File,
        resolv_conf,
    }
}

/// What kfetch leaves when the lock names these files and images, and nothing else.
pub fn artifacts(
    files: impl IntoIterator<Item = (String, FileArtifact)>,
    images: impl IntoIterator<Item = (String, ImageArtifact)>,
) -> Artifacts {
    let (files, images) = (files.into_iter().collect(), images.into_iter().collect());
    Artifacts { schema: SCHEMA, arch: Arch::Amd64, files, images }
}

/// The image that the lock calls `name`; its digest is that of its name.
pub fn image(name: &str, reference: &str) -> (String, ImageArtifact) {
    (name.into(), ImageArtifact { reference: reference.into(), digest: Sha256::of(name) })
}

impl Tree {
    /// Put the file that the lock calls `name` into the store, as kfetch does, with the programs
    /// `members`, each of which has the text "the MEMBER".
    pub fn store(&self, name: &str, version: &str, members: &[&str]) -> (String, FileArtifact) {
        let members = members.iter().map(|member| {
            let (path, text) =
                (format!("{STORE_DIR}/unpacked/{name}/{member}"), format!("the {member}"));
            self.write(&path, &text);
            ((*member).to_owned(), Member { path, sha256: Sha256::of(text) })
        });
        (name.into(), FileArtifact { version: version.into(), members: members.collect() })
    }

    /// Put the image that the lock calls `name` into the store, with these layers: of each the paths
    /// of its files, spelled as they are to be in the archive, and their texts.
    pub fn store_image(
        &self,
        name: &str,
        reference: &str,
        layers: &[&[(&str, &str)]],
    ) -> (String, ImageArtifact) {
        let layers: Vec<_> = layers.iter().map(|files| self.store_blob(&layer(files))).collect();
        let layers = layers.iter().map(|digest| json!({ "digest": digest })).collect::<Vec<_>>();
        let digest = self.store_blob(&json!({ "layers": layers }).to_string());
        (name.into(), ImageArtifact { reference: reference.into(), digest })
    }

    /// Put a blob into the store.
    pub fn store_blob(&self, text: &str) -> Sha256 {
        let digest = Sha256::of(text);
        self.write(&format!("{STORE_DIR}/blobs/sha256/{}", digest.hex()), text);
        digest
    }
}

/// An archive of these files; all that is in it are texts and zeros.
#[expect(clippy::unwrap_used, reason = "only tests call this")]
fn layer(files: &[(&str, &str)]) -> String {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(text.len() as u64);
        header.set_mode(0o755);
        header.set_cksum();
        archive.append(&header, text.as_bytes()).unwrap();
    }
    String::from_utf8(archive.into_inner().unwrap()).unwrap()
}

/// What kpki leaves on a node that is etcd member and control plane.
pub fn pki() -> PkiState {
    let [member, admin, node] =
        ["member-node1", "admin-node1", "node-node1"].map(|name| Some(certificate(name)));
    PkiState { schema: SCHEMA, ca: certificate("ca"), member, admin, node }
}

/// kpki's certificate `name`; its digest is that of its name.
pub fn certificate(name: &str) -> Certificate {
    Certificate {
        cert: format!("{ETCD_CERT_DIR}/{name}.pem"),
        key: format!("{ETCD_CERT_DIR}/{name}-key.pem"),
        sha256: Sha256::of(name),
        subject: format!("CN=etcd-{name}"),
        not_after: "2126-01-01T00:00:00Z".into(),
    }
}

/// What knode leaves of a plain machine, without images.
pub fn node() -> NodeState {
    NodeState {
        schema: SCHEMA,
        cri_socket: CRI_SOCKET.into(),
        containerd: "2.1.5".into(),
        runc: "1.3.4".into(),
        kubelet: "1.33.3".into(),
        cgroup_driver: "systemd".into(),
        nofile: 65535,
        images: BTreeMap::new(),
    }
}

/// What ketcd leaves on the only member.
pub fn etcd() -> EtcdState {
    EtcdState {
        schema: SCHEMA,
        version: Some("3.5.25".into()),
        member: Some("etcd1".into()),
        endpoints: vec!["https://192.0.2.11:2379".into()],
        data_dir: ETCD_DATA_DIR.into(),
    }
}

/// What kcp leaves.
pub fn control_plane() -> ControlPlaneState {
    ControlPlaneState {
        schema: SCHEMA,
        version: "1.33.3".into(),
        local_endpoint: "https://127.0.0.1:6443".into(),
        endpoint: "https://192.0.2.11:6443".into(),
        kubeconfig: ADMIN_CONF.into(),
        ca_sha256: Sha256::of("ca"),
        cluster_dns: [10, 233, 0, 3].into(),
    }
}
