//! The audit log: which requests the API server writes down, and where (kubespray
//! `kubernetes_audit`).

use std::path::Path;

use khost::{
    Error, Result, StepList, Tool, fs,
    steps::{directory::Directory, file::File},
};
use kspec::{
    cluster::{Audit, Volume},
    paths::AUDIT_DIR,
};

use crate::kubeadm_config::volume;

const POLICY: &str = "/etc/kubernetes/audit-policy/apiserver-audit-policy.yaml";
const WEBHOOK: &str = "/etc/kubernetes/audit-policy/apiserver-audit-webhook-config.yaml";
/// Where the pod has the directory of the log (`audit_log_mountpath`).
const LOG_DIR: &str = "/var/log/audit";

/// Without a policy of the operator's.
const DEFAULT: &str = include_str!("audit/policy.yaml");

/// The files that the API server reads, and the directory it writes to.
///
/// # Errors
/// `audit-file-missing`, `audit-policy-invalid`.
pub(crate) fn files(steps: &mut StepList, tool: &Tool, audit: &Audit) -> Result<()> {
    if !audit.enabled {
        return Ok(());
    }
    let policy = match &audit.policy_file {
        Some(path) => given(tool, path)?,
        None => DEFAULT.into(),
    };
    refuse_other_than_a_policy(&policy, audit)?;
    steps.add(File::new(POLICY).mode(0o640).text(policy));
    if let Some(path) = &audit.webhook_config {
        steps.add(File::new(WEBHOOK).mode(0o600).secret(given(tool, path)?)); // it may hold a token
    }
    steps.add(Directory::new(&audit.log_dir).mode(0o700));
    Ok(())
}

/// The API server's arguments for it.
pub(crate) fn arguments(audit: &Audit) -> Vec<(&'static str, String)> {
    if !audit.enabled {
        return Vec::new();
    }
    let mut arguments = vec![
        ("audit-policy-file", POLICY.into()),
        ("audit-log-path", format!("{LOG_DIR}/kube-apiserver-audit.log")),
        ("audit-log-maxage", audit.max_age_days.to_string()),
        ("audit-log-maxbackup", audit.max_backups.to_string()),
        ("audit-log-maxsize", audit.max_size_mb.to_string()),
    ];
    if audit.webhook_config.is_some() {
        arguments.extend([
            ("audit-webhook-config-file", WEBHOOK.into()),
            ("audit-webhook-mode", "batch".into()),
            ("audit-webhook-batch-max-size", "100".into()),
            ("audit-webhook-batch-max-wait", "1s".into()),
        ]);
    }
    arguments
}

/// What the API server's pod sees of the machine for it.
pub(crate) fn volumes(audit: &Audit) -> Vec<Volume> {
    if !audit.enabled {
        return Vec::new();
    }
    let log = Volume { writable: true, ..volume("audit-logs", &audit.log_dir, LOG_DIR) };
    vec![volume("audit-policy", AUDIT_DIR, AUDIT_DIR), log]
}

/// The text of a file of the operator's.
fn given(tool: &Tool, path: &Path) -> Result<String> {
    fs::read_text(&tool.host.path(path))?.ok_or_else(|| {
        Error::input("audit-file-missing", format!("`{}` does not exist", path.display()))
            .because("[control-plane.audit] names it")
            .hint("put it there, on each control plane, or take the key out")
    })
}

/// An API server with anything else does not start.
fn refuse_other_than_a_policy(text: &str, audit: &Audit) -> Result<()> {
    let why = match kspec::from_yaml_documents(text) {
        Err(error) => error.to_string(),
        Ok(documents) => match documents.as_slice() {
            [policy]
                if policy["kind"] == "Policy"
                    && policy["apiVersion"] == "audit.k8s.io/v1"
                    && policy["rules"].as_array().is_some_and(|rules| !rules.is_empty()) =>
            {
                return Ok(());
            }
            _ => "a Policy of audit.k8s.io/v1 with rules is wanted, and nothing else".into(),
        },
    };
    let path = audit.policy_file.as_deref().unwrap_or(Path::new(POLICY)).display();
    Err(Error::input("audit-policy-invalid", format!("`{path}` is no audit policy"))
        .because(why)
        .hint("see \"Auditing\" in the manual of Kubernetes"))
}

#[cfg(test)]
mod tests {
    use kspec::cluster::Audit;

    use super::{DEFAULT, refuse_other_than_a_policy};

    #[test]
    fn only_a_policy_is_a_policy() {
        let audit = Audit { policy_file: Some("/root/p.yaml".into()), ..Audit::default() };
        refuse_other_than_a_policy(DEFAULT, &audit).unwrap();
        let whole = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n";
        refuse_other_than_a_policy(whole, &audit).unwrap();
        for text in ["", "a: [", "kind: Policy\nrules: []\n", &whole.replace("v1", "v1beta1")] {
            let error = refuse_other_than_a_policy(text, &audit).unwrap_err();
            assert_eq!(error.code(), "audit-policy-invalid", "{text}");
        }
    }

    #[test]
    fn secrets_are_never_written_down_whole() {
        let policy = kspec::from_yaml_documents(DEFAULT).unwrap().remove(0);
        let rules = policy["rules"].as_array().unwrap();
        let names = |rule: &serde_json::Value| rule["resources"].to_string();
        let secrets = rules.iter().position(|rule| names(rule).contains("secrets")).unwrap();
        assert_eq!(rules[secrets]["level"], "Metadata");
        let whole = rules.iter().position(|rule| rule["level"] == "Request").unwrap();
        assert!(secrets < whole, "a rule before it would write them down");
    }
}
