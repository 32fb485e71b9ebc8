//! The pod network and what runs on top, on one real node: pods start at first try, every choice
//! takes effect while the cluster runs, what is switched off or taken out goes, what an operator
//! writes is checked before any of it is applied, and reset leaves nothing.

use pipeline_tests::node::Node;

const OWN: &str = "/etc/k8steps/manifests";

#[test]
fn the_network_and_the_add_ons_are_what_the_description_says() {
    let node = Node::boot("k8snet", "plain");
    node.must("make -C /root/k8steps up EVENTS=/run/events");

    first_share(&node);
    first_try(&node);
    packets(&node, 50);
    kubelets_are_verified(&node);
    rights(&node);
    printed_manifests(&node);
    own_manifests(&node);
    pods_that_take_their_time(&node);
    no_network(&node);
    away_and_back(&node);
    switched_off(&node);
    another_image(&node);
    an_image_that_is_not_there(&node);
    another_network(&node);
    an_interface_that_is_not_there(&node);

    node.lab(&["reboot", "node1"]);
    node.must(&until("kcni check && kapps check"));
    first_try(&node);
    node.must("! ip -brief link show dev flannel.1 && ! ip -brief link show dev flannel.7");

    gone(&node);
    node.down();
}

/// Repeat `script` until it ends with 0, a minute at most.
fn until(script: &str) -> String {
    format!(
        "for try in $(seq 120); do ( {script} ) >/run/said 2>&1 && exit 0; sleep 0.5; done; \
             cat /run/said; exit 1"
    )
}

/// kubectl as the administrator.
fn kubectl(args: &str) -> String {
    format!("kubectl --kubeconfig /etc/kubernetes/admin.conf {args}")
}

/// No sandbox ever failed.
fn first_try(node: &Node) {
    let failed = "get events -A --field-selector reason=FailedCreatePodSandBox";
    let said = node.must(&kubectl(failed));
    assert_eq!(said.trim(), "No resources found", "a pod's sandbox failed");
}

/// The pods of the add-ons did not wait for flanneld, and have what it would have given them; it has
/// been there since.
fn first_share(node: &Node) {
    let changed = r#"any(.event == "changed" and .step == "first-share")"#;
    node.must(&format!("jq -es '{changed}' /run/events"));
    node.must(
        "for link in /sys/class/net/veth*; do
           cmp $link/mtu /sys/class/net/flannel.1/mtu || exit 1; links=$link; done; test -n \"$links\"",
    );
    let given =
        "-n kube-system get configmap kube-flannel-cfg -o jsonpath='{.data.cni-conf\\.json}'";
    node.must(&format!("cmp /etc/cni/net.d/10-flannel.conflist <({})", kubectl(given)));
    node.must("iptables -t nat -S | grep FLANNEL-POSTRTG");
}

/// Pods' packets are `less` bytes smaller than the node's, everywhere.
fn packets(node: &Node, less: u32) {
    node.must(&format!(
        "link=$(cat /sys/class/net/eth0/mtu); wanted=$((link - {less}))
         . /run/flannel/subnet.env
         has=\"$FLANNEL_MTU $(cat /sys/class/net/cni0/mtu) $(jq .mtu /var/lib/k8steps/cni.json)\"
         test \"$has\" = \"$wanted $wanted $wanted\" || {{ echo \"$has, not $wanted\"; exit 1; }}"
    ));
}

/// metrics-server verifies kubelet, whose certificate is the cluster's, and nobody else gets one.
fn kubelets_are_verified(node: &Node) {
    let pem = "/var/lib/kubelet/pki/kubelet-server-current.pem";
    node.must(&format!("openssl verify -CAfile /etc/kubernetes/ssl/ca.crt {pem}"));
    node.must("! kapps manifests metrics-server | grep insecure-tls");
    node.must(&until(&kubectl("top node")));

    node.must(&format!(
        "openssl req -new -newkey rsa:2048 -nodes -keyout /run/key -out /run/csr \
           -subj /O=system:nodes/CN=system:node:node9 -addext subjectAltName=DNS:node9 2>/dev/null
         printf '%s\\n' 'apiVersion: certificates.k8s.io/v1' 'kind: CertificateSigningRequest' \
           'metadata: {{name: stranger}}' 'spec: {{signerName: kubernetes.io/kubelet-serving, \
           usages: [digital signature, server auth], request: '$(base64 -w0 /run/csr)'}}' |
         {}",
        kubectl("create -f - --as=system:node:node9 --as-group=system:nodes")
    ));
    node.ends("kapps approve", 0, "not approved: stranger: `system:node:node9` is no node");
    let status = kubectl("get csr stranger -o jsonpath={.status}");
    assert_eq!(node.must(&status), "{}", "a stranger's request was answered");
    node.must("systemctl start kapps-approve.service");
    node.ends("systemctl list-timers --all", 0, "kapps-approve.timer");
    node.must(&kubectl("delete csr stranger"));
}

/// What is a stand-in in the lab has the rights it needs, and no others.
fn rights(node: &Node) {
    const SCALE: &str = "update deployments.apps --subresource=scale";
    let can = |verb: &str| {
        kubectl(&format!(
            "-n kube-system auth can-i {verb} --as=system:serviceaccount:kube-system:dns-autoscaler"
        ))
    };
    for verb in [SCALE, "get configmaps", "create configmaps"] {
        node.ends(&can(verb), 0, "yes");
    }
    node.ends(&can("list nodes"), 0, "yes");
    node.ends(&can("delete pods"), 1, "no");
    let class = "get priorityclass k8s-cluster-critical -o jsonpath={.value}";
    assert_eq!(node.must(&kubectl(class)), "1000000000");
}

/// What is printed is what the API server takes, and nothing else is on standard output.
fn printed_manifests(node: &Node) {
    let dry_run = kubectl("apply --dry-run=server -f -");
    node.must(&format!("set -o pipefail; kapps manifests 2>/dev/null | {dry_run}"));
    node.must(&format!("set -o pipefail; kcni manifests 2>/dev/null | {dry_run}"));
    node.must("set -o pipefail; kapps manifests | head -n 1 && kcni manifests | head -n 1");
}

fn write(node: &Node, file: &str, text: &str) {
    node.must(&format!("mkdir -p {OWN}; cat >{OWN}/{file} <<'END'\n{text}END"));
}

fn own_manifests(node: &Node) {
    let map = |more: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: own, namespace: default}}\n{more}"
        )
    };
    node.must(&kubectl("create configmap theirs --from-literal=a=1"));
    write(
        node,
        "10-map.yaml",
        &(map("data: {a: '1', b: '2'}\n")
            + "---\n"
            + &map("").replace("name: own", "name: theirs")),
    );
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  \
         replica: 1\n  selector: {matchLabels: {a: b}}\n  template:\n    \
         metadata: {labels: {a: b}}\n    spec: {containers: [{name: a, image: a}]}\n";
    write(
        node,
        "20-web.yaml",
        &(map("").replace("name: own", "name: first") + "---\n" + deployment),
    );

    // One key that the API server does not know, and nothing of all that is applied.
    let said = node.ends("kapps apply", 2, "error[manifest-unknown-field]: ");
    let place = "/etc/k8steps/manifests/20-web.yaml`, document 2 (Deployment web): \
                 unknown field `spec.replica`";
    assert!(said.contains(place), "{said}");
    node.ends("kapps plan", 2, "error[manifest-unknown-field]");
    node.ends(&kubectl("get configmap own"), 1, "NotFound");

    // A value that it does not take.
    write(node, "20-web.yaml", &deployment.replace("replica: 1", "replicas: -1"));
    node.ends("kapps apply", 2, "error[manifest-refused]: ");
    node.must(&format!("rm {OWN}/20-web.yaml"));

    node.ends("kapps plan", 3, "+ConfigMap default/own");
    node.must("kapps apply");
    node.ends("kapps apply", 0, "nothing to do");
    let data = kubectl("get configmap own -o jsonpath={.data}");
    assert_eq!(node.must(&data), r#"{"a":"1","b":"2"}"#);

    // What others change is put back, what is taken out of the file is taken out of the cluster.
    node.must(&kubectl("patch configmap own --type=merge -p '{\"data\":{\"a\":\"9\"}}'"));
    node.ends("kapps check", 3, "~ConfigMap default/own (data.a)");
    write(node, "10-map.yaml", &map("data: {a: '1'}\n"));
    node.must("kapps apply");
    assert_eq!(node.must(&data), r#"{"a":"1"}"#);
    node.must(&kubectl("get configmap theirs")); // it was there before: changed, never deleted

    // A definition, a namespace, and what needs them, in the wrong order.
    write(
        node,
        "00-tree.yaml",
        "apiVersion: example.org/v1\nkind: Tree\nmetadata: {name: oak, \
         namespace: wood}\nspec: {height: 3}\n",
    );
    write(
        node,
        "50-ground.yaml",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: wood}\n---\n\
         apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
         metadata: {name: trees.example.org}\nspec:\n  group: example.org\n  scope: Namespaced\n  \
         names: {kind: Tree, plural: trees}\n  versions:\n  - name: v1\n    served: true\n    \
         storage: true\n    schema:\n      openAPIV3Schema:\n        type: object\n        \
         properties: {spec: {type: object, properties: {height: {type: integer}}}}\n",
    );
    node.must("kapps apply");
    node.must(&kubectl("-n wood get tree oak"));
    node.ends("kapps apply", 0, "nothing to do");
    write(
        node,
        "00-tree.yaml",
        "apiVersion: example.org/v1\nkind: Tree\nmetadata: {name: oak, \
         namespace: wood}\nspec: {hight: 3}\n",
    );
    node.ends("kapps apply", 2, "(Tree wood/oak): unknown field `spec.hight`");

    node.must(&format!("rm {OWN}/*"));
    node.ends("kapps plan", 3, "delete what is not wanted any more: ");
    node.must("kapps apply");
    for gone in ["configmap own", "namespace wood", "crd trees.example.org"] {
        node.ends(&kubectl(&format!("get {gone}")), 1, "NotFound");
    }
    node.must(&kubectl("get configmap theirs"));
    node.ends("kapps apply", 0, "nothing to do");
}

/// What runs pods goes before the namespace it is in, and has the time that its pods ask for; whoever
/// waits for it hears which pod it is.
fn pods_that_take_their_time(node: &Node) {
    // sleep(1) as a container's first process does not hear that it has to end.
    write(
        node,
        "60-slow.yaml",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: slow}\n---\napiVersion: apps/v1\n\
         kind: Deployment\nmetadata: {name: sleeper, namespace: slow}\nspec:\n  \
         selector: {matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: b}}\n    \
         spec:\n      terminationGracePeriodSeconds: 10\n      containers:\n      \
         - {name: a, image: 'docker.io/k8steps/toolbox:1', command: [sleep, '3600']}\n",
    );
    node.must("kapps apply");
    node.must(&kubectl("-n slow rollout status deployment sleeper --timeout=60s"));
    node.must(&format!("rm {OWN}/60-slow.yaml"));
    let said = node.ends("kapps apply --timeout 3", 1, "error[timeout]: ");
    for told in ["the end of Deployment slow/sleeper", "pod sleeper-", "told to end by "] {
        assert!(said.contains(told), "{told}: {said}");
    }
    node.must("kapps apply");
    node.ends(&kubectl("get namespace slow"), 1, "NotFound");
    node.ends("kapps apply", 0, "nothing to do");
}

/// kapps waits for a kcni that is at work, and for no other.
fn no_network(node: &Node) {
    node.must("mv /var/lib/k8steps/cni.json /root/");
    let said = node.ends("kapps apply", 2, "error[input-missing]: `/var/lib/k8steps/cni.json`");
    assert!(said.contains("run `kcni apply`"), "{said}");
    node.must("kapps apply & kcni apply; wait $! && kapps check");
    node.must("diff /root/cni.json /var/lib/k8steps/cni.json");
}

/// Reset alone, while the cluster goes on: no pod stays, and all can be made anew at once, though the
/// controller still has to take the namespace away.
fn away_and_back(node: &Node) {
    node.must("kapps reset --yes");
    let pods = kubectl("get pods --all-namespaces --no-headers");
    let others = "kube-(apiserver|controller-manager|scheduler|proxy|flannel)-";
    assert_eq!(node.must(&format!("{pods} | grep -vE '{others}'; true")), "");
    let said = node.must("kapps apply");
    assert!(said.contains("Namespace node-feature-discovery"), "{said}");
    node.must("kapps check");
    node.ends("kapps apply", 0, "nothing to do");
}

/// Every add-on goes where it is switched off, and nothing of it stays.
fn switched_off(node: &Node) {
    let off = |name: &str| format!("{name}.enabled = false\n");
    let names = ["coredns", "dns-autoscaler", "metrics-server", "node-feature-discovery", "helm"];
    node.describe(&format!("[addons]\n{}", names.map(off).concat()));
    node.ends("kapps plan", 3, "Namespace node-feature-discovery");
    node.must("kapps apply");
    node.ends(&kubectl("get namespace node-feature-discovery"), 1, "NotFound");
    node.ends(&kubectl("get crd"), 0, "No resources found");
    node.ends(&kubectl("get apiservice v1beta1.metrics.k8s.io"), 1, "NotFound");
    node.ends(&kubectl("-n kube-system get deployments"), 0, "No resources found");
    node.ends(&kubectl("-n kube-system get service"), 0, "No resources found");
    node.must(
        "! ls /usr/local/bin/helm /etc/bash_completion.d/helm.sh \
               /etc/kubernetes/node-feature-discovery 2>/dev/null",
    );
    node.ends("kapps apply", 0, "nothing to do");
    node.must("kapps check");
}

/// What was off comes back, and runs the image that the description names.
fn another_image(node: &Node) {
    let image = "docker.io/coredns/coredns:v1.12.0";
    node.must(&format!(
        "sed -i '/^dns-autoscaler.enabled/d; s|^coredns.enabled.*|coredns.image = \"{image}\"|' \
           /etc/k8steps/cluster.toml && kapps apply"
    ));
    let running = "-n kube-system get pods -l k8s-app=kube-dns \
                   -o 'jsonpath={.items[*].spec.containers[0].image}'";
    assert_eq!(node.must(&kubectl(running)), image);
    assert_eq!(node.must("jq -j .apps.coredns.version /var/lib/k8steps/apps.json"), image);
    node.ends("kapps apply", 0, "nothing to do");
    node.must("kapps check");
}

/// An image that no registry has: the wait says so, and the next run mends it.
fn an_image_that_is_not_there(node: &Node) {
    let config = "/etc/k8steps/cluster.toml";
    node.must(&format!("sed -i '/^helm.enabled/a dns-autoscaler.version = \"v0\"' {config}"));
    let said = node.ends("kapps apply --timeout 10", 1, "error[timeout]: dns-autoscaler ");
    assert!(said.contains("cluster-proportional-autoscaler:v0"), "{said}");
    node.must(&format!("sed -i '/^dns-autoscaler/d' {config} && kapps apply"));
}

/// Every change takes effect while the cluster runs.
fn another_network(node: &Node) {
    let lookup = &until(&kubectl(
        "get --raw '/api/v1/namespaces/kube-system/services/coredns:metrics/proxy/metrics'",
    ));
    node.describe("[network.flannel]\nvni = 7\nport = 4789\nmtu = 1400\ndirect-routing = true");
    node.ends("kcni plan", 3, "kube-flannel-cfg");
    node.must("kcni apply");
    node.must("ip -details link show dev flannel.7 | grep 'vxlan id 7 .*dstport 4789'");
    node.must("! ip link show dev flannel.1");
    node.ends(&kubectl("-n kube-system logs -l app=flannel --tail=-1"), 0, "DirectRouting=true");
    node.must(
        "grep -x FLANNEL_MTU=1350 /run/flannel/subnet.env && jq -e '.mtu == 1350' \
               /var/lib/k8steps/cni.json && grep -x 1350 /sys/class/net/cni0/mtu",
    );
    node.must(lookup);
    node.ends("kcni apply", 0, "nothing to do");

    node.must(
        "sed -i '/^vni = 7/,/^direct-routing/d; /^.network.flannel/a backend = \"host-gw\"\\nnftables = true' \
               /etc/k8steps/cluster.toml && kcni apply",
    );
    node.must("! ip link show dev flannel.7");
    packets(node, 0);
    node.must("nft list table ip flannel-ipv4 | grep masquerade; ! iptables-save | grep FLANNEL");
    node.must(lookup);
    node.must("kcni check");
}

fn an_interface_that_is_not_there(node: &Node) {
    let config = "/etc/k8steps/cluster.toml";
    node.must(&format!("sed -i '/^nftables/a interface = \"eth9\"' {config}"));
    node.ends("kcni apply", 2, "error[interface-missing]: this machine has no interface `eth9`");
    node.must(&format!("sed -i 's/^interface = .*/interface-regex = \"^eth9$\"/' {config}"));
    let said = node.ends("kcni apply --timeout 15", 1, "error[timeout]: this node's share");
    assert!(said.contains("`ip -brief address` shows what there is"), "{said}");
    node.must(&format!("sed -i 's/^interface-regex = .*/interface-regex = \"^eth\"/' {config}"));
    node.must("kcni apply && kcni check");
    node.must(&format!("sed -i 's/^interface-regex = .*/interface = \"eth0\"/' {config}"));
    node.must("kcni apply && kcni check");
    let log = kubectl("-n kube-system logs -l app=flannel --tail=-1");
    node.ends(&log, 0, "Using interface with name eth0");
}

/// In one go, though the control plane went first; a route as flannel makes it on host-gw goes too.
fn gone(node: &Node) {
    node.must("ip route add 10.233.65.0/24 via 10.99.0.1");
    node.must("kcp reset --yes");
    node.ends("kapps reset --yes", 0, "its objects go with it");
    node.ends("kcni reset --yes", 0, "its objects go with it");
    let left = "ip -brief link | grep -E 'cni0|flannel'; ip route | grep 10.233; nft list tables | \
                grep flannel; iptables-save | grep -E 'FLANNEL|CNI-'; ls -d /run/flannel \
                /etc/cni/net.d/10-flannel.conflist /opt/cni/bin/flannel /etc/tmpfiles.d/k8steps-* \
                /etc/systemd/system/kapps-* /var/lib/k8steps/apps.json 2>/dev/null; true";
    assert_eq!(node.must(left), "", "left behind by reset");
}
