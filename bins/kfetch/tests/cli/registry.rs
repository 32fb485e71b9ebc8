//! A real registry: TLS from a private authority, passwords, images for several architectures.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    thread,
};

use kspec::{Sha256, state::Artifacts};
use ktest::Tree;
use serde_json::json;

use crate::{
    Lock, RECORD, blob, bytes,
    distribution::{PASSWORD, Registry, USER},
    download, run,
    server::Server,
    this_arch, tree,
};

const CONFIG: &str = "/etc/k8steps/docker.json";
const CA: &str = "/etc/k8steps/ca.pem";

/// The registry `r.example`, served at `url`; `of_host` and `of_download` are further keys.
fn cluster(url: &str, of_host: &str, of_download: &str) -> String {
    download(&format!("mirrors-only = true\n{of_download}"))
        + &format!(
            "[[containerd.registry]]\nprefix = \"r.example\"\n\
             [[containerd.registry.host]]\nurl = \"{url}\"\n{of_host}\n"
        )
}

/// Put a docker configuration with this login into the tree, for its owner alone.
fn login(tree: &Tree, host: &str, password: &str) {
    let auth = base64(&format!("{USER}:{password}"));
    let config = json!({ "auths": { host: { "auth": auth } } });
    tree.write(CONFIG, &config.to_string());
    fs::set_permissions(tree.path(CONFIG), fs::Permissions::from_mode(0o600)).unwrap();
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn at(registry: &Registry) -> String {
    format!("127.0.0.1:{}", registry.port)
}

#[test]
fn a_private_registry_with_a_private_authority() {
    let registry = Registry::tls(true);
    let layer = bytes(3_000_000);
    let digests = registry.push("team/app:1", &[&layer, b"two"]);
    let own = digests[usize::from(this_arch().as_str() == "arm64")];
    let both = [
        (format!("ca = \"{CA}\""), format!("docker-config = \"{CONFIG}\"")),
        (String::new(), format!("docker-config = \"{CONFIG}\"\nca-file = \"{CA}\"")),
    ];
    for (of_host, of_download) in both {
        let lock = Lock::new().image("app", "r.example/team/app:1");
        let tree = tree(&cluster(&registry.url(), &of_host, &of_download), &lock.0);
        tree.write(CA, registry.ca.as_ref().unwrap());
        login(&tree, &at(&registry), PASSWORD);
        let mut tool = tree.tool();
        let output = tool.args(["apply", "-vv"]).env("K8STEPS_LOG", "trace").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        let secrets = [PASSWORD.to_owned(), base64(&format!("{USER}:{PASSWORD}"))];
        assert!(!secrets.iter().any(|secret| said.contains(secret)), "{said}");
        let record: Artifacts = serde_json::from_str(&tree.read(RECORD)).unwrap();
        assert_eq!(record.images["app"].digest, own, "the manifest of this architecture");
        assert_eq!(Sha256::of(fs::read(blob(&tree, &layer)).unwrap()), Sha256::of(&layer));
        run(&tree, &["verify"], 0);
    }
}

#[test]
fn who_has_not_the_authority_or_the_password() {
    let registry = Registry::tls(true);
    registry.push("app:1", &[b"one"]);
    let lock = Lock::new().image("app", "r.example/app:1");
    let keys = format!("docker-config = \"{CONFIG}\"");
    let unknown = tree(&cluster(&registry.url(), "", &keys), &lock.0);
    login(&unknown, &at(&registry), PASSWORD);
    let (_, stderr) = run(&unknown, &["apply"], 1);
    assert!(stderr.contains("error[mirror-down]") && stderr.contains("UnknownIssuer"), "{stderr}");

    let ca = format!("ca = \"{CA}\"");
    let known = tree(&cluster(&registry.url(), &ca, &keys), &lock.0);
    known.write(CA, registry.ca.as_ref().unwrap());
    for (host, password) in [
        (at(&registry), "wrong"),
        ("other.example".into(), PASSWORD),
        ("127.0.0.1".into(), PASSWORD),
    ] {
        login(&known, &host, password);
        let (_, stderr) = run(&known, &["apply"], 1);
        assert!(stderr.contains("/v2/app/manifests/1: HTTP 401 Unauthorized"), "{stderr}");
        assert!(!stderr.contains(password), "{stderr}");
    }
    login(&known, &at(&registry), PASSWORD);
    run(&known, &["apply"], 0);
}

#[test]
fn files_come_from_servers_with_a_private_authority_too() {
    let registry = Registry::tls(false);
    let kubelet = bytes(200_000);
    registry.push("files:1", &[&kubelet]);
    let path = format!("/v2/files/blobs/{}", Sha256::of(&kubelet));
    let url = format!("{}{path}", registry.url());
    let lock = Lock::new().file("kubelet", "https://up/kubelet", &kubelet);
    let down = format!("{}/{{version}}/{{arch}}", Server::down());
    let own =
        format!("[[download.artifact]]\nname = \"kubelet\"\nurls = [\"{down}\", \"{url}\"]\n");
    let settings = format!("mirrors-only = true\nca-file = \"{CA}\"");
    let trusting = tree(&(download(&settings) + &own), &lock.0);
    trusting.write(CA, registry.ca.as_ref().unwrap());
    run(&trusting, &["apply"], 0);
    assert_eq!(fs::read(blob(&trusting, &kubelet)).unwrap(), kubelet);

    let other = tree(&(download("mirrors-only = true") + &own), &lock.0);
    let (_, stderr) = run(&other, &["apply"], 1);
    assert!(stderr.contains(&format!("{url}: ")) && stderr.contains("UnknownIssuer"), "{stderr}");
    assert!(stderr.contains(&format!("/1.33.3/{}: ", this_arch())), "{stderr}");
}

#[test]
fn a_password_over_plain_http_stays_on_this_machine() {
    let registry = Registry::plain();
    registry.push("app:1", &[b"one"]);
    let lock = Lock::new().image("app", "r.example/app:1");
    let keys = format!("docker-config = \"{CONFIG}\"");
    let own = tree(&cluster(&registry.url(), "", &keys), &lock.0);
    login(&own, &at(&registry), PASSWORD);
    run(&own, &["apply"], 0);

    let away = tree(&cluster("http://192.0.2.1:5000", "", &keys), &lock.0);
    login(&away, "192.0.2.1:5000", PASSWORD);
    let (_, stderr) = run(&away, &["apply"], 2);
    let what = "error[password-unprotected]: the password would be readable by others on its way to \
                http://192.0.2.1:5000";
    assert!(stderr.contains(what), "{stderr}");
    assert!(stderr.contains("hint: use https:// and `ca`"), "{stderr}");
    let any = cluster("https://192.0.2.1:5000", "skip-verify = true", &keys);
    let away = tree(&any, &lock.0);
    login(&away, "192.0.2.1:5000", PASSWORD);
    let (_, stderr) = run(&away, &["apply"], 2);
    assert!(stderr.contains("error[password-unprotected]"), "{stderr}");
}

#[test]
fn a_password_is_not_sent_to_a_token_server_without_https() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let keys = format!("docker-config = \"{CONFIG}\"");
    let lock = Lock::new().image("app", "r.example/app:1");
    let tree = tree(&cluster(&format!("http://{host}"), "", &keys), &lock.0);
    login(&tree, &host, PASSWORD);
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let length = stream.read(&mut request).unwrap();
        let answer = "HTTP/1.1 401 No\r\ncontent-length: 0\r\nconnection: close\r\n\
                      www-authenticate: Bearer realm=\"http://192.0.2.9/token\"\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let (_, stderr) = run(&tree, &["apply"], 2);
    let what = "error[password-unprotected]: the password would be readable by others on its way to \
                http://192.0.2.9/token";
    assert!(stderr.contains(what), "{stderr}");
    assert!(!server.join().unwrap().to_lowercase().contains("authorization"));
}

#[test]
fn a_mirror_hears_no_password_of_another_host() {
    let (mirror, registry) = (Server::start(), Registry::tls(true));
    registry.push("app:1", &[b"one"]);
    let next = format!("[[containerd.registry.host]]\nurl = \"{}\"\nca = \"{CA}\"", registry.url());
    let keys = format!("docker-config = \"{CONFIG}\"");
    let lock = Lock::new().image("app", "r.example/app:1");
    let tree = tree(&cluster(&mirror.url(), &next, &keys), &lock.0);
    tree.write(CA, registry.ca.as_ref().unwrap());
    login(&tree, &at(&registry), PASSWORD);
    run(&tree, &["apply"], 0);
    let heard = format!("{:?}", mirror.requests());
    assert!(heard.contains("/v2/") && !heard.contains("Basic"), "{heard}");
}

#[test]
fn files_of_ones_own_that_cannot_be_used() {
    let lock = Lock::new().image("app", "r.example/app:1");
    let refused = |of_host: &str, of_download: &str, error: &str, hint: &str| {
        let tree = tree(&cluster("https://192.0.2.1", of_host, of_download), &lock.0);
        tree.write(CA, "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n");
        tree.write("/etc/k8steps/empty.pem", "nothing\n");
        tree.write(CONFIG, "{\"auths\":{}}");
        fs::set_permissions(tree.path(CONFIG), fs::Permissions::from_mode(0o644)).unwrap();
        let verbs: &[&str] = if error.starts_with("ca") { &["plan", "apply"] } else { &["apply"] };
        for verb in verbs {
            let (_, stderr) = run(&tree, &[verb], 2);
            assert!(stderr.contains(&format!("error[{error}]: ")), "{stderr}");
            assert!(stderr.contains(&format!("hint: {hint}")), "{stderr}");
        }
    };
    refused("ca = \"/no.pem\"", "", "ca-missing", "copy the authority's certificate there");
    refused("", "ca-file = \"/no.pem\"", "ca-missing", "copy the authority's certificate there");
    let pem = "ca-file of [download] must be in PEM";
    refused("", &format!("ca-file = \"{CA}\""), "ca-invalid", pem);
    refused("", "ca-file = \"/etc/k8steps/empty.pem\"", "ca-invalid", pem);
    let exposed = format!("docker-config = \"{CONFIG}\"");
    refused("", &exposed, "docker-config-exposed", "run `chmod 600 ");
    let none = "docker-config = \"/no.json\"";
    refused("", none, "docker-config-invalid", "name a file that `docker --config");

    let lock = Lock::new().file("kubelet", "https://up/kubelet", b"x");
    let typo = "[[download.artifact]]\nname = \"kubelte\"\nurls = []\n";
    tree(typo, &lock.0).refuses_phase(2, "artifact-unknown", "choose of: kubelet");
    let scheme = "[[download.artifact]]\nname = \"kubelet\"\nurls = [\"ftp://h/{version}\"]\n";
    let hint = "correct the urls of the [[download.artifact]] `kubelet`";
    tree(scheme, &lock.0).refuses_phase(2, "address-invalid", hint);
}
