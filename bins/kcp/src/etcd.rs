//! Asking the API server's etcd, with the API server's own certificate.

use khost::{
    Error, Host, Result, fs,
    http::{self, Trust},
};
use serde_json::Value;

use crate::inputs::Inputs;

/// Why no member is healthy, member by member; none when one is.
pub(crate) fn unhealthy(host: &Host, inputs: &Inputs) -> Result<Option<String>> {
    let trust = match trust(host, inputs)? {
        Ok(trust) => trust,
        Err(missing) => return Ok(Some(missing)),
    };
    let client = http::client(&trust)?;
    let mut reasons = Vec::new();
    for endpoint in &inputs.etcd.endpoints {
        let why = match http::get(&client, &format!("{endpoint}/health")) {
            Ok(answer) if answer.status == 200 => return Ok(None),
            Ok(answer) => format!("it answers {}: {}", answer.status, answer.body.trim()),
            Err(reason) => reason,
        };
        reasons.push(format!("{endpoint}: {why}"));
    }
    Ok(Some(reasons.join("; ")))
}

/// Whether a cluster's objects are in it already; none when it does not say.
pub(crate) fn holds_a_cluster(host: &Host, inputs: &Inputs) -> Result<Option<bool>> {
    let Ok(trust) = trust(host, inputs)? else { return Ok(None) };
    let client = http::client(&trust)?;
    // `/registry/` up to, not including, `/registry0`, in base64, as etcd's gateway takes it.
    let range = r#"{"key":"L3JlZ2lzdHJ5Lw==","range_end":"L3JlZ2lzdHJ5MA==","count_only":true}"#;
    for endpoint in &inputs.etcd.endpoints {
        if let Ok(answer) = http::post(&client, &format!("{endpoint}/v3/kv/range"), range)
            && answer.status == 200
        {
            let answer: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            // Numbers of 64 bits are strings there; zero is left out.
            return Ok(Some(answer["count"].as_str().is_some_and(|count| count != "0")));
        }
    }
    Ok(None)
}

/// Whether `why` is about who trusts whom: the words of rustls, and of the alerts that etcd sends.
pub(crate) fn is_about_certificates(why: &str) -> bool {
    let why = why.to_ascii_lowercase();
    why.contains("certificate") || why.contains("unknownca") || why.contains("unknownissuer")
}

/// How etcd proves itself and the API server does, or which file is missing for it.
fn trust(host: &Host, inputs: &Inputs) -> Result<Result<Trust, String>> {
    let mut files = Vec::new();
    for path in [&inputs.etcd_ca.cert, &inputs.etcd_client.cert, &inputs.etcd_client.key] {
        match fs::read(&host.path(path))? {
            Some(bytes) => files.push(bytes),
            None => return Ok(Err(format!("`{path}` is missing: a certificate of etcd's"))),
        }
    }
    let [ca, cert, key]: [Vec<u8>; 3] = files
        .try_into()
        .map_err(|_| Error::host("etcd-client-missing", "etcd's certificates are not whole"))?;
    Ok(Ok(Trust { ca: Some(ca), identity: Some([cert, key].concat()) }))
}

#[cfg(test)]
mod tests {
    use super::is_about_certificates;

    #[test]
    fn distrust_is_told_from_silence() {
        for why in [
            "https://192.0.2.11:2379: invalid peer certificate: UnknownIssuer",
            "received fatal alert: CertificateRequired",
            "received fatal alert: UnknownCA",
            "`/etc/ssl/etcd/ssl/ca.pem` is missing: a certificate of etcd's",
        ] {
            assert!(is_about_certificates(why), "{why}");
        }
        for why in ["Connection refused (os error 111)", "no answer in time", "it answers 503: {}"]
        {
            assert!(!is_about_certificates(why), "{why}");
        }
    }
}
