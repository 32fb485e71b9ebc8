//! knode's containerd and kubelet, before there is a cluster: images, credentials, control groups.

#![expect(clippy::unwrap_used, reason = "a test drives programs")]

use pipeline_tests::node::Node;

/// Images that containerd has under their names.
const PRESENT: &str = "ctr -n k8s.io images list -q | grep -vc ^sha256: || true";

#[test]
fn the_runtime_is_what_the_description_says() {
    let node = Node::boot("k8srun", "plain");
    node.must("kprep apply && kfetch apply && knode apply");

    // The kubelet waits for a cluster, enabled, and has not been tried once.
    assert_eq!(node.must("systemctl is-enabled kubelet"), "enabled\n");
    assert!(node.must("journalctl --no-pager -u kubelet").contains("No entries"));

    base_spec(&node);
    images(&node);
    credentials(&node);
    hosts(&node);
    control_groups(&node);

    node.must("knode reset --yes");
    let left = "ls -d /etc/containerd /var/lib/containerd /run/containerd /var/lib/kubelet \
                /etc/bash_completion.d/crictl /usr/local/bin/ctr 2>/dev/null; \
                find /sys/fs/cgroup -maxdepth 3 -name 'kubepods*'; ps -eo comm= | grep -E '^(pause|containerd)'; true";
    assert_eq!(node.must(left), "", "left behind by reset");
}

/// What every container starts from is what this containerd would print itself.
fn base_spec(node: &Node) {
    let but_limits = "jq -S 'del(.process.rlimits)'";
    node.must(&format!(
        "diff <(ctr oci spec | {but_limits}) <({but_limits} /etc/containerd/cri-base.json)"
    ));
}

/// Imported once, by digest, whatever happens meanwhile; the sandbox's is never collected.
fn images(node: &Node) {
    let pinned = "ctr -n k8s.io images list | grep '^registry.k8s.io/pause' | \
                  grep -q io.cri-containerd.pinned=pinned";
    node.must(pinned);
    node.must("systemctl restart containerd && knode check");
    node.must(pinned);

    let all: usize = node.must(PRESENT).trim().parse().unwrap();
    node.must("ctr -n k8s.io images list -q | xargs ctr -n k8s.io images remove --sync >/dev/null");
    let killed = format!(
        "knode apply & until [ \"$({PRESENT})\" -gt 0 ]; do sleep 0.05; done; \
         kill -KILL $!; wait; while pgrep -x ctr; do sleep 0.1; done"
    );
    node.run(&killed);
    let done: usize = node.must(PRESENT).trim().parse().unwrap();
    assert!(done > 0, "a killed import has nothing to show");
    if done < all {
        let planned =
            node.must("{ knode plan 2>/dev/null || test $? = 3; } | grep -c '^    +.* sha256:'");
        assert_eq!(planned.trim(), (all - done).to_string());
    }
    // Where containerd cannot reach what is offered, it says so; and nothing of the offer is left.
    node.must("ctr -n k8s.io images remove --sync registry.k8s.io/pause:3.10");
    node.ends("unshare --net knode apply", 1, "connection refused");
    node.must("[ ! -e /run/k8steps/images ] && knode apply && [ ! -e /run/k8steps/images ]");
    assert_eq!(node.must(PRESENT).trim(), all.to_string());
    assert!(node.must("knode apply").contains("nothing to do"));
    node.must(pinned);
}

/// A registry that wants to know who asks: Debian's, in the node. `hunter2` as bcrypt has it.
fn credentials(node: &Node) {
    node.copy("/usr/bin/docker-registry", "/root/docker-registry");
    node.must(
        "cat >/root/registry.yml <<'END'
version: 0.1
storage: {filesystem: {rootdirectory: /root/registry}}
http: {addr: '127.0.0.1:5001'}
auth: {htpasswd: {realm: lab, path: /root/htpasswd}}
END
echo 'me:$2b$04$blE5rUro4MtC9x./B9MA2.tPuLGRiWxR725Yys0ko4x44TJ2ihut.' >/root/htpasswd
echo '{\"auths\": {\"http://127.0.0.1:5001\": {\"auth\": \"bWU6aHVudGVyMg==\"}}}' >/root/docker.json
chmod 600 /root/docker.json
cat >>/etc/k8steps/cluster.toml <<'END'
[[containerd.registry]]
prefix = '127.0.0.1:5001'
host = [{ url = 'http://127.0.0.1:5001' }]
END
systemd-run --quiet --unit=registry /root/docker-registry serve /root/registry.yml
timeout 20 bash -c 'until curl -so /dev/null http://127.0.0.1:5001/v2/; do sleep 0.1; done'
ctr='ctr -n k8s.io images' image=127.0.0.1:5001/private/pause:1
$ctr tag registry.k8s.io/pause:3.10 $image
$ctr push --plain-http --user me:hunter2 $image >/dev/null
$ctr remove --sync $image",
    );
    let pull = "crictl pull 127.0.0.1:5001/private/pause:1";
    node.must("knode apply");
    node.ends(pull, 1, "no basic auth credentials");
    node.must("sed -i 's|^.download.$|&\\ndocker-config = \"/root/docker.json\"|' /etc/k8steps/cluster.toml");
    let said = node.must("knode plan || knode apply -vv; knode check");
    assert!(!said.contains("bWU6aHVudGVyMg"), "{said}");
    node.must(pull);
    node.must("! journalctl --no-pager | grep -q bWU6aHVudGVyMg");
    let mode = "stat -c %a /etc/containerd/conf.d/credentials.toml";
    assert_eq!(node.must(mode), "600\n");
}

/// The same images from a host that has its API elsewhere and wants to see a certificate: containerd
/// and kfetch, from one section.
fn hosts(node: &Node) {
    node.must(
        "cd /root && ec='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
openssl req -x509 $ec -days 2 -keyout ca.key -out ca.pem -subj /CN=lab 2>/dev/null
for name in server client; do
    openssl req $ec -keyout $name.key -out $name.csr -subj /CN=$name 2>/dev/null
    openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
        -extfile <(echo subjectAltName=IP:127.0.0.1) -out $name.pem 2>/dev/null
done
cat >mutual.yml <<'END'
version: 0.1
storage: {filesystem: {rootdirectory: /root/registry}}
http:
  addr: '127.0.0.1:5002'
  prefix: /oci/
  tls: {certificate: /root/server.pem, key: /root/server.key, clientcas: [/root/ca.pem]}
END
systemd-run --quiet --unit=mutual /root/docker-registry serve /root/mutual.yml
cat >>/etc/k8steps/cluster.toml <<'END'
[[containerd.registry]]
prefix = 'mutual.example'
[[containerd.registry.host]]
url = 'https://127.0.0.1:5002/oci/v2'
override-path = true
capabilities = ['pull', 'resolve']
ca = '/root/ca.pem'
client = [{ certificate = '/root/client.pem', key = '/root/client.key' }]
headers = { X-Site = ['north', 'rack 7'] }
dial-timeout-seconds = 5
END
timeout 20 bash -c 'until curl -sko /dev/null https://127.0.0.1:5002/ || [ $? = 56 ]; do sleep 0.1; done'",
    );
    let pull = "crictl pull mutual.example/private/pause:1";
    node.must("knode apply");
    node.must(pull);
    node.must("! journalctl --no-pager -u containerd | grep -E 'level=error.*(hosts.toml|mutual)'");
    let lock = "/etc/k8steps/artifacts.lock";
    node.must(&format!(
        "cp {lock} /root/kept && printf '[[image]]\\nname = \"mutual\"\\nref = \
         \"mutual.example/private/pause:1\"\\n' >>{lock} && kfetch apply && kfetch verify"
    ));
    assert!(node.must("kfetch list").contains("mutual.example/private/pause:1"));
    node.must(&format!("cp /root/kept {lock} && kfetch apply"));

    // Who shows nothing gets nothing: it was the certificate that let them in.
    node.must("crictl rmi mutual.example/private/pause:1 >/dev/null");
    node.must("sed -i '/^client = /d' /etc/k8steps/cluster.toml && knode apply");
    node.ends(pull, 1, "remote error: tls: "); // "bad certificate", or "certificate required"
}

/// A real static pod under either driver. Its kubelet is knode's own in all but who may ask it:
/// there is no API server to say.
fn control_groups(node: &Node) {
    let run = "mkdir -p /etc/kubernetes/manifests
sed -e 's/mode: Webhook/mode: AlwaysAllow/' -e '/^  webhook:/{n;s/true/false/}' -e '/^  x509:/,+1d' \
  /etc/kubernetes/kubelet-config.yaml >/root/alone.yaml
cat >/etc/kubernetes/manifests/alone.yaml <<'END'
apiVersion: v1
kind: Pod
metadata: {name: alone, namespace: default}
spec: {hostNetwork: true, containers: [{name: pause, image: 'registry.k8s.io/pause:3.10'}]}
END
systemd-run --quiet --unit=alone /usr/local/bin/kubelet --config=/root/alone.yaml
timeout 60 bash -c 'until crictl ps | grep -q pause; do sleep 0.2; done' || journalctl -u alone -n 20
for pid in $(pgrep -x pause); do grep -E '^[0-9]+:(memory)?:' /proc/$pid/cgroup; done
systemctl stop alone; crictl rmp --all --force >/dev/null; rm /etc/kubernetes/manifests/alone.yaml";
    let said = node.must(run);
    assert!(said.contains(":/kubepods.slice/kubepods-besteffort.slice/"), "{said}");
    node.describe("[kubelet]\ncgroup-driver = \"cgroupfs\"");
    node.must("knode apply && knode check");
    let said = node.must(run);
    assert!(said.contains(":/kubepods/besteffort/pod"), "{said}");
}
