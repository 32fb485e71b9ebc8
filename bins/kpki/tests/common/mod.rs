//! What kubeadm and the kubelet leave on a control plane, with certificates of any life.

#![allow(dead_code, reason = "each test program uses some of it")]

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ktest::Tree;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

pub(crate) const SSL: &str = "/etc/kubernetes/ssl";
pub(crate) const EC: &str = "[pki]\nkey-algorithm = \"ecdsa-p256\"\n";

/// An authority.
pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
}

fn params(subject: &[(DnType, &str)], days: i64) -> CertificateParams {
    let mut name = DistinguishedName::new();
    for (kind, value) in subject {
        name.push(kind.clone(), *value);
    }
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.not_before = now - Duration::days(400);
    params.not_after = now + Duration::days(days) + Duration::hours(1);
    params.use_authority_key_identifier_extension = true;
    params
}

impl Authority {
    /// The authority `name`, put into `tree` as `FILE.crt` and `FILE.key`.
    pub(crate) fn new(tree: &Tree, name: &str, file: &str) -> Self {
        Self::ending(tree, name, file, 3650)
    }

    /// Likewise, with a certificate that ends in `days`.
    pub(crate) fn ending(tree: &Tree, name: &str, file: &str, days: i64) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params(&[(DnType::CommonName, name)], days);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let pem = params.self_signed(&key).unwrap().pem();
        tree.write(&format!("{SSL}/{file}.crt"), &pem);
        tree.write(&format!("{SSL}/{file}.key"), &key.serialize_pem());
        Self::known(&pem, &key.serialize_pem())
    }

    /// The authority with this certificate and key.
    pub(crate) fn known(pem: &str, key: &str) -> Self {
        let issuer = Issuer::from_ca_cert_pem(pem, KeyPair::from_pem(key).unwrap()).unwrap();
        Self { pem: pem.into(), issuer }
    }

    /// A certificate of `organisation` (may be empty) and `name`, that ends in `days`.
    pub(crate) fn issue(&self, organisation: &str, name: &str, sans: &[&str], days: i64) -> Issued {
        let mut subject = vec![(DnType::CommonName, name)];
        if !organisation.is_empty() {
            subject.insert(0, (DnType::OrganizationName, organisation));
        }
        let mut params = params(&subject, days);
        let with_sans =
            CertificateParams::new(sans.iter().map(ToString::to_string).collect::<Vec<_>>());
        params.subject_alt_names = with_sans.unwrap().subject_alt_names;
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![if sans.is_empty() {
            ExtendedKeyUsagePurpose::ClientAuth
        } else {
            ExtendedKeyUsagePurpose::ServerAuth
        }];
        params.is_ca = IsCa::ExplicitNoCa;
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Issued { cert, key: key.serialize_pem() }
    }

    /// A kubeconfig as clientcmd writes it.
    pub(crate) fn kubeconfig(&self, user: &str, issued: &Issued) -> String {
        let [ca, cert, key] =
            [&self.pem, &issued.cert, &issued.key].map(|pem| BASE64_STANDARD.encode(pem));
        format!(
            "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {ca}\n    \
             server: https://127.0.0.1:6443\n  name: cluster.local\ncontexts:\n- context:\n    \
             cluster: cluster.local\n    user: {user}\n  name: {user}@cluster.local\n\
             current-context: {user}@cluster.local\nkind: Config\npreferences: {{}}\nusers:\n\
             - name: {user}\n  user:\n    client-certificate-data: {cert}\n    \
             client-key-data: {key}\n"
        )
    }
}

/// All that kubeadm and the kubelet make, with certificates that end in `days`, in a tree that
/// kpki has been applied to. The kubelet's own ends in 365.
pub(crate) fn control_plane(tool: &str, days: i64) -> Tree {
    let tree = Tree::with_cluster(tool, EC);
    tree.leave(&ktest::facts());
    tree.run(&["apply"], 0);
    let ca = Authority::new(&tree, "kubernetes", "ca");
    let front = Authority::new(&tree, "front-proxy-ca", "front-proxy-ca");
    let put = |name: &str, issued: &Issued| {
        tree.write(&format!("{SSL}/{name}.crt"), &issued.cert);
        tree.write(&format!("{SSL}/{name}.key"), &issued.key);
    };
    let names = ["kubernetes", "node1", "192.0.2.11"];
    put("apiserver", &ca.issue("", "kube-apiserver", &names, days));
    let client = ca.issue("kubeadm:cluster-admins", "kube-apiserver-kubelet-client", &[], days);
    put("apiserver-kubelet-client", &client);
    put("front-proxy-client", &front.issue("", "front-proxy-client", &[], days));
    for (file, organisation, user) in [
        ("admin", "kubeadm:cluster-admins", "kubernetes-admin"),
        ("super-admin", "system:masters", "kubernetes-super-admin"),
        ("controller-manager", "", "system:kube-controller-manager"),
        ("scheduler", "", "system:kube-scheduler"),
    ] {
        let config = ca.kubeconfig(user, &ca.issue(organisation, user, &[], days));
        tree.write(&format!("/etc/kubernetes/{file}.conf"), &config);
        if file == "admin" {
            tree.write("/root/.kube/config", &config);
        }
    }
    let kubelet = ca.issue("system:nodes", "system:node:node1", &[], 365);
    let current = "/var/lib/kubelet/pki/kubelet-client-current.pem";
    tree.write(current, &format!("{}{}", kubelet.cert, kubelet.key));
    let config = ca.kubeconfig("system:node:node1", &kubelet);
    let path = |line: &str| match line.trim_start().split_once("-data: ") {
        Some((key @ ("client-certificate" | "client-key"), _)) => format!("    {key}: {current}\n"),
        _ => format!("{line}\n"),
    };
    tree.write("/etc/kubernetes/kubelet.conf", &config.lines().map(path).collect::<String>());
    let own = Authority::new(&tree, "node1-ca@1", "of-the-kubelet");
    for file in ["of-the-kubelet.crt", "of-the-kubelet.key"] {
        std::fs::rename(tree.path(&format!("{SSL}/{file}")), tree.path("/run/gone")).unwrap();
    }
    let serving = own.issue("", "node1@1", &["node1"], days);
    tree.write("/var/lib/kubelet/pki/kubelet.crt", &serving.cert);
    tree.write("/var/lib/kubelet/pki/kubelet.key", &serving.key);
    tree
}
