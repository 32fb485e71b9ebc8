//! kcp on a real node: a control plane that runs follows cluster.toml, part by part, and goes back
//! when it cannot.

use pipeline_tests::{events, node::Node};

#[test]
fn a_control_plane_follows_its_description() {
    let node = Node::boot("k8scp", "plain");
    node.must("kprep apply && kfetch apply && kpki apply && ketcd apply && knode apply");
    node.must("kcp apply && kcp check && kcp plan");

    secrets_are_encrypted_and_requests_written_down(&node);
    the_key_is_changed(&node);
    what_cannot_be_written_is_told_and_gone_on_with(&node);
    only_what_changed_is_started_anew(&node);
    what_does_not_work_is_taken_back(&node);
    kube_proxy_follows(&node);
    labels_and_taints_come_and_go(&node);
    node.down();
}

const RAW: &str = "ETCDCTL_API=3 etcdctl --endpoints https://10.99.0.11:2379 \
    --cacert /etc/ssl/etcd/ssl/ca.pem --cert /etc/ssl/etcd/ssl/admin-node1.pem \
    --key /etc/ssl/etcd/ssl/admin-node1-key.pem get /registry/secrets/default/mine --print-value-only";

const WORD: &str = "kubectl get secret mine -o jsonpath={.data.word} | base64 -d";

/// Switched on while the cluster runs: what was there before is encrypted as well.
fn secrets_are_encrypted_and_requests_written_down(node: &Node) {
    node.must("kubectl create secret generic mine --from-literal=word=swordfish");
    assert!(node.must(RAW).contains("swordfish"), "a secret is stored as it is");
    node.must(&format!("cat >/root/receiver.pl <<'END'\n{RECEIVER}END\n{LISTEN}"));
    node.must(&format!("cat >/root/webhook.yaml <<'END'\n{WEBHOOK}END"));
    node.describe(
        "[control-plane.encryption]\nenabled = true\n[control-plane.audit]\nenabled = true\n\
         max-size-mb = 5\nwebhook-config = '/root/webhook.yaml'",
    );
    let (code, planned) = node.run("kcp plan --json");
    assert_eq!(code, 3, "{planned}");
    let applied = node.must("kcp apply --json");
    assert_eq!(events(&applied, "changed"), events(&planned, "planned"), "{planned}\n{applied}");
    assert_eq!(node.must(WORD), "swordfish");
    let raw = node.must(RAW);
    assert!(raw.contains("k8s:enc:secretbox:v1:key1:") && !raw.contains("swordfish"), "{raw}");
    assert_eq!(node.must("stat -c %a /etc/kubernetes/ssl/secrets_encryption.yaml"), "600\n");
    assert!(node.must("kcp apply").contains("nothing to do"));

    let log = "/var/log/kubernetes/audit/kube-apiserver-audit.log";
    let line = node.must(&format!(
        "timeout 10 bash -c 'until grep secrets {log} | grep name.:.mine | grep -m1 verb.:.get; do sleep 0.2; done'"
    ));
    assert!(line.contains("\"level\":\"Metadata\""), "{line}");
    node.must(&format!("! grep -q c3dvcmRmaXNo {log}"));
    // The same events have come to the receiver, by themselves within seconds.
    let received = node.must(
        "timeout 20 bash -c 'until grep -o \"/api/v1/namespaces/default/secrets/mine[^}]*\" \
         /root/received | grep -m1 verb.:.get; do sleep 0.2; done'",
    );
    assert!(received.contains("\"verb\":\"get\""), "{received}");
    node.must("grep -q '\"kind\":\"EventList\"' /root/received");
    node.must("! grep -q c3dvcmRmaXNo /root/received");
}

/// Takes the audit events of the API server: a server of HTTP, and no more.
const RECEIVER: &str = r#"use IO::Socket::INET;
my $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 9099, Listen => 9,
    ReuseAddr => 1) or die $!;
open(my $file, ">>", "/root/received") or die $!;
$file->autoflush(1);
$SIG{CHLD} = "IGNORE";
while (my $client = $listener->accept) {
    next if fork;
    while (defined(my $line = <$client>)) {
        my $length = 0;
        while (defined(my $header = <$client>)) {
            last if $header =~ /^\r?\n$/;
            $length = $1 if $header =~ /^content-length: (\d+)/i;
        }
        read($client, my $body, $length);
        print $file "$body\n";
        print $client "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        $client->flush;
    }
    exit;
}
"#;

const LISTEN: &str = "systemd-run --quiet --unit=receiver perl /root/receiver.pl; \
    timeout 10 bash -c 'until ss -tln | grep -q :9099; do sleep 0.1; done'";

const WEBHOOK: &str = "apiVersion: v1
kind: Config
clusters: [{name: receiver, cluster: {server: 'http://127.0.0.1:9099/audit'}}]
contexts: [{name: receiver, context: {cluster: receiver, user: ''}}]
current-context: receiver
";

/// Another key, of another kind. Killed after it came, before anything is written with it:
/// `apply` goes on.
fn the_key_is_changed(node: &Node) {
    encrypt_by(node, "aescbc");
    node.ends("kcp rotate-key --plan", 3, "add a new key");
    node.must(&format!(
        "kcp rotate-key >/dev/null 2>&1 & \
         timeout 20 bash -c 'until grep -q key2 {KEYS}; do sleep 0.02; done'; kill -KILL $!; wait; true"
    ));
    assert!(node.must(RAW).contains("k8s:enc:secretbox:v1:key1:"));
    node.must("kcp apply && kcp plan");
    assert!(node.must(RAW).starts_with("k8s:enc:aescbc:v1:key2:"));
    node.must(&format!("! grep -E 'key1|secretbox' {KEYS}"));
    assert_eq!(node.must(WORD), "swordfish");
    node.must("! journalctl --no-pager | grep -q swordfish");
}

const KEYS: &str = "/etc/kubernetes/ssl/secrets_encryption.yaml";

fn encrypt_by(node: &Node, provider: &str) {
    node.must(&format!(
        "sed -i '/^provider = /d; s/^.control-plane.encryption.$/&\\nprovider = \"{provider}\"/' \
         /etc/k8steps/cluster.toml"
    ));
}

/// Nobody is there to admit it.
const REFUSER: &str = "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: refuser}
webhooks:
- name: refuser.example.com
  clientConfig: {url: 'https://127.0.0.1:9/'}
  failurePolicy: Fail
  sideEffects: None
  admissionReviewVersions: [v1]
  rules:
  - {apiGroups: [''], apiVersions: [v1], operations: [UPDATE], resources: [secrets, nodes]}
";

/// Changes a secret all the time, for whoever reads it and writes it back.
const HAMMER: &str = r#"use IO::Socket::INET;
for (my $n = 0; ; $n++) {
    my $body = "{\"metadata\":{\"annotations\":{\"count\":\"$n\"}}}";
    my $to = IO::Socket::INET->new("127.0.0.1:8001") or next;
    print $to "PATCH /api/v1/namespaces/default/secrets/mine HTTP/1.1\r\nHost: localhost\r\n"
        . "Content-Type: application/merge-patch+json\r\nConnection: close\r\n"
        . "Content-Length: " . length($body) . "\r\n\r\n$body";
    1 while <$to>;
}
"#;

/// The third kind of key; what is in the way on the way there, and what is in the way of a label.
fn what_cannot_be_written_is_told_and_gone_on_with(node: &Node) {
    encrypt_by(node, "aesgcm");
    node.must(&format!("kubectl apply -f - <<'END'\n{REFUSER}END"));
    // It is in force for all, once it is for one.
    node.must(
        "timeout 30 bash -c 'while kubectl label secret mine seen=$RANDOM --overwrite; do sleep 0.1; done'",
    );
    let said = node.ends("kcp apply", 1, "error[rewrite-failed]: cannot write secrets again");
    assert!(said.contains("refuser.example.com") && !said.contains("swordfish"), "{said}");
    node.must("cp /etc/k8steps/cluster.toml /root/good.toml");
    node.must("echo \"labels = { rack = '7' }\" >>/etc/k8steps/cluster.toml");

    // The rest of the same: now secrets may be written, and somebody does, without an end.
    node.must(
        "kubectl patch validatingwebhookconfiguration refuser --type=json -p \
         '[{\"op\": \"replace\", \"path\": \"/webhooks/0/rules/0/resources\", \"value\": [\"nodes\"]}]'",
    );
    node.must(
        "timeout 30 bash -c 'until kubectl label secret mine seen=$RANDOM --overwrite; do sleep 0.1; done'",
    );
    node.must(&format!(
        "cat >/root/hammer.pl <<'END'\n{HAMMER}END\n\
         systemd-run --quiet --unit=proxy kubectl --kubeconfig=/etc/kubernetes/admin.conf proxy; \
         timeout 10 bash -c 'until ss -tln | grep -q :8001; do sleep 0.1; done'; \
         systemd-run --quiet --unit=hammer perl /root/hammer.pl; \
         timeout 10 bash -c 'until kubectl get secret mine -o yaml | grep count:; do sleep 0.1; done'"
    ));
    let said = node.ends("kcp apply", 1, "error[rewrite-incomplete]: not all secrets");
    assert!(said.contains("(Conflict)"), "{said}");
    assert_eq!(node.must(WORD), "swordfish", "unreadable meanwhile");
    node.must("systemctl stop hammer proxy");

    let said = node.ends("kcp apply", 1, "error[node-not-labelled]");
    assert!(said.contains("refuser.example.com"), "{said}");
    assert!(node.must(RAW).starts_with("k8s:enc:aesgcm:v1:key3:"));
    node.must(&format!("! grep -E 'key2|aescbc' {KEYS}"));
    assert_eq!(node.must(WORD), "swordfish");
    node.must("kubectl delete validatingwebhookconfiguration refuser");
    node.must("kcp apply && kcp check");
    assert!(node.must("kubectl get node node1 --show-labels").contains("rack=7"));
    node.must("cp /root/good.toml /etc/k8steps/cluster.toml && kcp apply && kcp check");
}

/// Which container each of the three runs in.
const CONTAINERS: &str = "for pod in kube-apiserver kube-controller-manager kube-scheduler; do \
    crictl ps --quiet --name $pod | head -1; done";

fn containers(node: &Node) -> Vec<String> {
    let found: Vec<_> = node.must(CONTAINERS).lines().map(str::to_owned).collect();
    assert_eq!(found.len(), 3, "{found:?}");
    found
}

/// Which of the three are others than `before`.
fn replaced(node: &Node, before: &[String]) -> Vec<bool> {
    before.iter().zip(containers(node)).map(|(before, now)| *before != now).collect()
}

/// By its file, or not at all.
fn only_what_changed_is_started_anew(node: &Node) {
    let before = containers(node);
    node.describe("[control-plane.scheduler-extra]\npercentageOfNodesToScore = 50");
    node.ends(
        "kcp plan",
        3,
        "start kube-scheduler anew: /etc/kubernetes/kubescheduler-config.yaml",
    );
    node.must("kcp apply && kcp check");
    assert_eq!(replaced(node, &before), [false, false, true]);

    // What only kubeadm goes by is uploaded, and nothing starts anew.
    let before = containers(node);
    node.must(
        "sed -i 's/^.kubeadm.$/&\\ncertificate-validity-hours = 4380/' /etc/k8steps/cluster.toml",
    );
    node.must("kcp apply && kcp check");
    assert_eq!(replaced(node, &before), [false, false, false]);
    let uploaded = "kubectl -n kube-system get configmap kubeadm-config -o yaml";
    assert!(node.must(uploaded).contains("certificateValidityPeriod: 4380h0m0s"));
}

/// An argument that kube-apiserver does not know.
fn what_does_not_work_is_taken_back(node: &Node) {
    let manifest = "/etc/kubernetes/manifests/kube-apiserver.yaml";
    let before = node.must(&format!("cat {manifest}"));
    node.must("cp /etc/k8steps/cluster.toml /root/good.toml");
    node.describe("[control-plane.api-server-args]\nno-such-argument = \"1\"");
    let said = node.ends("kcp apply", 1, "error[static-pod-unhealthy]");
    assert!(said.contains("unknown flag: --no-such-argument"), "{said}");
    assert_eq!(node.must(&format!("cat {manifest}")), before, "the manifest before is not back");
    node.must("kubectl get --raw=/readyz");
    node.must("cp /root/good.toml /etc/k8steps/cluster.toml && kcp apply && kcp check");
}

fn kube_proxy_follows(node: &Node) {
    let pod = "kubectl -n kube-system get pods -l k8s-app=kube-proxy -o name";
    let map = "kubectl -n kube-system get configmap kube-proxy -o yaml";
    let before = node.must(pod);
    // Somebody's hand in its server field, and in the nodes it runs on.
    node.must(&format!(
        "{map} | sed 's|server: .*|server: https://192.0.2.1:6443|' | kubectl replace -f -"
    ));
    node.ends("kcp plan", 3, "+    server: https://10.99.0.11:6443");
    node.must("kcp apply && kcp check");
    assert!(node.must(map).contains("server: https://10.99.0.11:6443"));
    let after = node.must(pod);
    assert_ne!(after, before, "its pod has not read it");
    assert!(node.must("kcp apply").contains("nothing to do"));
    assert_eq!(node.must(pod), after);
    let selector = "kubectl -n kube-system get daemonset kube-proxy -o jsonpath={.spec.template.spec.nodeSelector}";
    node.must(
        "kubectl -n kube-system patch daemonset kube-proxy --type=json \
               -p '[{\"op\": \"remove\", \"path\": \"/spec/template/spec/nodeSelector\"}]'",
    );
    node.ends("kcp plan", 3, "keep kube-proxy's pods on Linux nodes");
    node.must("kcp apply && kcp check");
    assert!(node.must(selector).contains("\"kubernetes.io/os\":\"linux\""));
}

fn labels_and_taints_come_and_go(node: &Node) {
    let said = node.must("kcp apply -v");
    assert!(said.contains("cluster.toml has no labels and no taints for node1"), "{said}");
    node.must(
        "kubectl label node node1 theirs=stays && kubectl taint node node1 theirs:PreferNoSchedule",
    );
    let end = "cat >>/etc/k8steps/cluster.toml <<'END'";
    node.must(&format!("{end}\nlabels = {{ rack = '7', disk = 'ssd' }}\ntaints = ['slow=yes:PreferNoSchedule']\nEND"));
    node.ends(
        "kcp plan",
        3,
        "label or taint node node1: disk=ssd, rack=7, slow=yes:PreferNoSchedule",
    );
    node.must("kcp apply && kcp check");
    let labels = "kubectl get node node1 -o jsonpath='{.metadata.labels} {.spec.taints}'";
    let said = node.must(labels);
    for there in ["\"rack\":\"7\"", "\"disk\":\"ssd\"", "\"theirs\":\"stays\"", "\"slow\""] {
        assert!(said.contains(there), "{there}: {said}");
    }
    node.must("sed -i \"s/, disk = 'ssd'//; /^taints = /d; s/rack = '7'/rack = '8'/\" /etc/k8steps/cluster.toml");
    node.ends(
        "kcp plan",
        3,
        "label or taint node node1: disk-, rack=8, slow=yes:PreferNoSchedule-",
    );
    node.must("kcp apply && kcp check");
    let said = node.must(labels);
    assert!(said.contains("\"rack\":\"8\"") && said.contains("\"theirs\":\"stays\""), "{said}");
    assert!(said.contains("\"key\":\"theirs\"") && !said.contains("disk\":\"ssd"), "{said}");
    assert!(!said.contains("\"slow\""), "{said}");
}
