//! Certificates that are shown to a registry host: `client` of a `[[containerd.registry.host]]`.

use kspec::cluster::ClientPair;

use crate::{Error, Host, Result, fs, private};

/// Certificate and private key of `pair` as one PEM text, from files of `host`.
///
/// # Errors
/// `registry-client-missing`, `registry-client-exposed` or `registry-client-invalid`; none shows
/// what is in the files.
pub fn read(host: &Host, pair: &ClientPair) -> Result<Vec<u8>> {
    let key_path = host.path(pair.key_file());
    let missing = |path: &std::path::Path| {
        let what = format!("`client` of a registry host names `{}`", path.display());
        Error::input("registry-client-missing", what)
            .because("there is no such file")
            .hint("put the file there, or correct `client` in cluster.toml")
    };
    let invalid = |path: &std::path::Path, lacks: &str| {
        let what = format!("`{}` cannot be shown to a registry host", path.display());
        Error::input("registry-client-invalid", what)
            .because(format!("there is no {lacks} in it"))
            .hint(
                "write both in PEM; without `key`, the file of the certificate holds the private \
                 key as well",
            )
    };
    let key = private::read(&key_path, "registry-client-exposed", "a private key")?;
    let mut text = key.ok_or_else(|| missing(&key_path))?;
    if !holds(&text, "PRIVATE KEY-----") {
        return Err(invalid(&key_path, "private key"));
    }
    let path = host.path(&pair.certificate);
    if pair.key.is_some() {
        let certificate = fs::read(&path)?.ok_or_else(|| missing(&path))?;
        text.push(b'\n');
        text.extend(certificate);
    }
    if !holds(&text, "-----BEGIN CERTIFICATE-----") {
        return Err(invalid(&path, "certificate"));
    }
    Ok(text)
}

fn holds(text: &[u8], mark: &str) -> bool {
    text.windows(mark.len()).any(|part| part == mark.as_bytes())
}

#[cfg(test)]
mod tests {
    use kspec::cluster::ClientPair;

    use crate::{
        Host,
        fs::{Attributes, write},
    };

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n";

    /// What comes of these files: how long it is, or the error's code; never the key.
    fn read(certificate: Option<&str>, key: Option<(&str, u32)>) -> Result<usize, &'static str> {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::new(dir.path());
        let put = |path: &str, text: &str, mode| {
            write(&host.path(path), text.as_bytes(), Attributes { mode, owner: None }).unwrap();
        };
        if let Some(text) = certificate {
            put("/c.pem", text, if key.is_some() { 0o644 } else { 0o600 });
        }
        if let Some((text, mode)) = key {
            put("/c.key", text, mode);
        }
        let key = key.map(|_| "/c.key".into());
        let pair = ClientPair { certificate: "/c.pem".into(), key };
        super::read(&host, &pair).map(|text| text.len()).map_err(|error| {
            assert!(!error.chain().contains("hunter2"), "{}", error.chain());
            error.code()
        })
    }

    #[test]
    fn a_pair_in_two_files_or_in_one() {
        let both = CERTIFICATE.len() + KEY.len();
        assert_eq!(read(Some(CERTIFICATE), Some((KEY, 0o600))), Ok(both + 1));
        assert_eq!(read(Some(&format!("{CERTIFICATE}{KEY}")), None), Ok(both));
        assert_eq!(read(None, None), Err("registry-client-missing"));
        assert_eq!(read(None, Some((KEY, 0o600))), Err("registry-client-missing"));
        assert_eq!(read(Some(CERTIFICATE), Some((KEY, 0o644))), Err("registry-client-exposed"));
        assert_eq!(read(Some(CERTIFICATE), None), Err("registry-client-invalid"));
        assert_eq!(read(Some(CERTIFICATE), Some(("", 0o600))), Err("registry-client-invalid"));
        assert_eq!(read(Some(""), Some((KEY, 0o600))), Err("registry-client-invalid"));
    }
}
