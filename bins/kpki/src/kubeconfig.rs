//! The client certificate in a kubeconfig.

use std::path::PathBuf;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

/// Where a kubeconfig's user has its certificate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// In the file itself: certificate and key, as PEM.
    Embedded(Vec<u8>, Vec<u8>),
    /// In the file with this path, with or without its key.
    File(PathBuf),
    /// It has another credential.
    None,
}

/// The client certificate of the user of the current context in `text`, or of its only user.
///
/// # Errors
/// Why it is no kubeconfig, in words; never with what it says.
pub(crate) fn client(text: &str) -> Result<Client, String> {
    let documents = kspec::from_yaml_documents(text).map_err(|_| "it is not YAML".to_owned())?;
    let config = documents.first().ok_or("it is empty")?;
    let user = current_user(config).ok_or("it names no user")?;
    let embedded = |key: &str| {
        let text = user.get(key)?.as_str()?;
        Some(BASE64_STANDARD.decode(text).map_err(|_| format!("its {key} is not base64")))
    };
    match (embedded("client-certificate-data"), embedded("client-key-data")) {
        (Some(cert), Some(key)) => Ok(Client::Embedded(cert?, key?)),
        (Some(_), None) => Err("it has a certificate without its key".into()),
        (None, _) => Ok(match user.get("client-certificate").and_then(Value::as_str) {
            Some(path) => Client::File(path.into()),
            None => Client::None,
        }),
    }
}

fn current_user(config: &Value) -> Option<&Value> {
    let named = |list: &str, name: &Value| {
        config.get(list)?.as_array()?.iter().find(|entry| entry.get("name") == Some(name))
    };
    let current = config.get("current-context").and_then(|name| named("contexts", name));
    let user = current.and_then(|context| named("users", context.pointer("/context/user")?));
    user.or_else(|| config.get("users")?.as_array()?.first())?.get("user")
}

/// `text` with another embedded certificate and key, everything else byte for byte as it was:
/// kubeadm and kcp look at these files line by line.
pub(crate) fn with_client(text: &str, cert: &str, key: &str) -> String {
    let line = |line: &str| {
        let bare = line.trim_start();
        let indent = &line[..line.len() - bare.len()];
        let replaced = |name: &str, pem: &str| {
            bare.starts_with(&format!("{name}:"))
                .then(|| format!("{indent}{name}: {}\n", BASE64_STANDARD.encode(pem)))
        };
        replaced("client-certificate-data", cert)
            .or_else(|| replaced("client-key-data", key))
            .unwrap_or_else(|| line.to_owned())
    };
    text.split_inclusive('\n').map(line).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Client, client, with_client};

    const ADMIN: &str = "\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: Q0E=
    server: https://192.0.2.11:6443
  name: cluster.local
contexts:
- context:
    cluster: cluster.local
    user: kubernetes-admin
  name: kubernetes-admin@cluster.local
current-context: kubernetes-admin@cluster.local
kind: Config
preferences: {}
users:
- name: other
  user:
    token: secret
- name: kubernetes-admin
  user:
    client-certificate-data: Q0VSVA==
    client-key-data: S0VZ
";

    #[test]
    fn the_current_users_certificate_is_found_and_replaced() {
        assert_eq!(client(ADMIN).unwrap(), Client::Embedded(b"CERT".into(), b"KEY".into()));
        let other = with_client(ADMIN, "cert", "key");
        assert_eq!(client(&other).unwrap(), Client::Embedded(b"cert".into(), b"key".into()));
        assert_eq!(with_client(&other, "CERT", "KEY"), ADMIN);
    }

    #[test]
    fn a_path_another_credential_and_none_are_told_apart() {
        let file = ADMIN.replace("client-certificate-data: Q0VSVA==", "client-certificate: /a.pem");
        assert_eq!(client(&file).unwrap(), Client::File("/a.pem".into()));
        let token = ADMIN.replace("@cluster.local\nkind", "\nkind");
        assert_eq!(client(&token).unwrap(), Client::None, "its first user has a token");
    }

    #[test]
    fn what_is_torn_is_no_kubeconfig() {
        for (end, why) in [
            (0, "it is empty"),
            (ADMIN.find("users:").unwrap(), "it names no user"),
            (ADMIN.len() - 4, "its client-key-data is not base64"),
            (ADMIN.find("    client-key").unwrap(), "it has a certificate without its key"),
        ] {
            assert_eq!(client(&ADMIN[..end]).unwrap_err(), why);
        }
        assert_eq!(client("a: [").unwrap_err(), "it is not YAML");
    }

    proptest! {
        #[test]
        fn any_kubeconfig_is_read_or_refused_without_what_it_says(
            text in ktest::slip_of_the_hand(&ADMIN.replace("S0VZ", "aHVudGVyMg==")),
        ) {
            if let Err(why) = client(&text) {
                prop_assert!(why.starts_with("it") && !why.contains("aHVu"), "{}", why);
            }
            let once = with_client(&text, "cert", "key");
            prop_assert_eq!(&with_client(&once, "cert", "key"), &once);
            let others = |text: &str| -> Vec<String> {
                let lines = text.split('\n').filter(|line| !line.trim_start().starts_with("client-"));
                lines.map(str::to_owned).collect()
            };
            prop_assert_eq!(others(once.trim_end()), others(text.trim_end()));
        }

        #[test]
        fn what_is_put_in_is_found(cert in "-----BEGIN (?s).{0,40}", key in "-----BEGIN (?s).{0,40}") {
            let text = with_client(ADMIN, &cert, &key);
            prop_assert_eq!(client(&text), Ok(Client::Embedded(cert.into(), key.into())));
        }
    }

    #[test]
    fn fuzz_kubeconfig() {
        fuzz::text_target([ADMIN], |text| {
            let _ = client(text);
            let once = with_client(text, "cert", "key");
            assert_eq!(with_client(&once, "cert", "key"), once);
        });
    }
}
