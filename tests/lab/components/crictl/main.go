// A stand-in for crictl, whose module the lab cannot get: a small program that makes the same CRI
// calls through Kubernetes' own client library, with the same verbs, flags and output shapes for
// what the lab and an operator looking into it use.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gogo/protobuf/jsonpb"
	"github.com/gogo/protobuf/proto"
	internalapi "k8s.io/cri-api/pkg/apis"
	"k8s.io/cri-api/pkg/apis/runtime/v1"
	cri "k8s.io/cri-client/pkg"
	"k8s.io/klog/v2"
)

const (
	version = "1.33.0"
	verbs   = "info version ps pods images pull inspecti rmi stop rm stopp rmp completion"
)

var protoJSON = jsonpb.Marshaler{EmitDefaults: true, Indent: "  "}

type client struct {
	runtime internalapi.RuntimeService
	images  internalapi.ImageManagerService
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "crictl (lab stand-in):", err)
		os.Exit(1)
	}
}

// settings reads the two keys of /etc/crictl.yaml that matter here.
func settings(path string, into map[string]string) {
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok {
			into[strings.TrimSpace(key)] = strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
}

func run(args []string) error {
	config := "/etc/crictl.yaml"
	set := map[string]string{"runtime-endpoint": "unix:///run/containerd/containerd.sock"}
	global := flag.NewFlagSet("crictl", flag.ExitOnError)
	showVersion := global.Bool("version", false, "say what this is")
	global.BoolVar(showVersion, "v", false, "say what this is")
	global.StringVar(&config, "config", config, "configuration file")
	global.StringVar(&config, "c", config, "configuration file")
	endpoint := global.String("runtime-endpoint", "", "CRI endpoint")
	global.StringVar(endpoint, "r", "", "CRI endpoint")
	imageEndpoint := global.String("image-endpoint", "", "CRI image endpoint")
	global.StringVar(imageEndpoint, "i", "", "CRI image endpoint")
	timeout := global.Duration("timeout", 10*time.Second, "connection timeout")
	global.DurationVar(timeout, "t", *timeout, "connection timeout")
	if err := global.Parse(args); err != nil {
		return err
	}
	if *showVersion {
		fmt.Printf("crictl version v%s (lab stand-in: not the real crictl)\n", version)
		return nil
	}
	if global.NArg() == 0 {
		return fmt.Errorf("a verb is needed, one of: %s", verbs)
	}
	verb, rest := global.Arg(0), global.Args()[1:]
	if verb == "completion" {
		fmt.Printf("# lab stand-in\ncomplete -W %q crictl\n", verbs)
		return nil
	}
	settings(config, set)
	if *endpoint != "" {
		set["runtime-endpoint"] = *endpoint
	}
	if *imageEndpoint != "" {
		set["image-endpoint"] = *imageEndpoint
	}
	if set["image-endpoint"] == "" {
		set["image-endpoint"] = set["runtime-endpoint"]
	}
	quiet := klog.Background().V(9)
	runtime, err := cri.NewRemoteRuntimeService(set["runtime-endpoint"], *timeout, nil, &quiet)
	if err != nil {
		return err
	}
	images, err := cri.NewRemoteImageService(set["image-endpoint"], *timeout, nil, &quiet)
	if err != nil {
		return err
	}
	return client{runtime, images}.do(context.Background(), verb, rest)
}

func (c client) do(ctx context.Context, verb string, args []string) error {
	o, args, err := parse(verb, args)
	if err != nil {
		return err
	}
	switch verb {
	case "version":
		return c.version(ctx)
	case "info":
		return c.info(ctx)
	case "ps":
		return c.ps(ctx, o)
	case "pods":
		return c.pods(ctx, o)
	case "images":
		return c.listImages(ctx, o)
	case "inspecti":
		return each(args, func(name string) error { return c.inspectImage(ctx, name) })
	case "pull":
		return each(args, func(name string) error {
			ref, err := c.images.PullImage(ctx, &v1.ImageSpec{Image: name}, nil, nil)
			if err == nil {
				fmt.Println("Image is up to date for", ref)
			}
			return err
		})
	case "rmi":
		return each(args, done("Deleted: %s\n", func(name string) error {
			return c.images.RemoveImage(ctx, &v1.ImageSpec{Image: name})
		}))
	case "stop":
		return each(args, done("%s\n", func(id string) error { return c.runtime.StopContainer(ctx, id, o.grace) }))
	case "rm":
		return c.removeContainers(ctx, o, args)
	case "stopp":
		return each(args, done("Stopped sandbox %s\n", func(id string) error { return c.runtime.StopPodSandbox(ctx, id) }))
	case "rmp":
		return c.removePods(ctx, o, args)
	}
	return fmt.Errorf("no verb %q in this stand-in; it has: %s", verb, verbs)
}

type options struct {
	all, quiet, force bool
	output, name      string
	grace             int64
}

// parse takes flags before, between and after the arguments, as crictl does.
func parse(verb string, args []string) (o options, rest []string, err error) {
	set := flag.NewFlagSet("crictl "+verb, flag.ContinueOnError)
	for _, n := range []string{"all", "a"} {
		set.BoolVar(&o.all, n, false, "all, not only running ones")
	}
	for _, n := range []string{"quiet", "q"} {
		set.BoolVar(&o.quiet, n, false, "only ids")
	}
	for _, n := range []string{"force", "f"} {
		set.BoolVar(&o.force, n, false, "also when running")
	}
	for _, n := range []string{"output", "o"} {
		set.StringVar(&o.output, n, "table", "table or json")
	}
	set.StringVar(&o.name, "name", "", "only this name")
	set.Int64Var(&o.grace, "timeout", 0, "seconds before a container is killed")
	for len(args) > 0 {
		if err = set.Parse(args); err != nil {
			return o, nil, err
		}
		if args = set.Args(); len(args) > 0 {
			rest, args = append(rest, args[0]), args[1:]
		}
	}
	return o, rest, nil
}

func each(args []string, do func(string) error) error {
	if len(args) == 0 {
		return errors.New("which one? An id or name is needed")
	}
	var failed []error
	for _, arg := range args {
		failed = append(failed, do(arg))
	}
	return errors.Join(failed...)
}

func done(format string, do func(string) error) func(string) error {
	return func(arg string) error {
		err := do(arg)
		if err == nil {
			fmt.Printf(format, arg)
		}
		return err
	}
}

// printJSON prints a CRI message as the real one does: protobuf's JSON, with defaults.
func printJSON(message proto.Message) error {
	text, err := protoJSON.MarshalToString(message)
	if err == nil {
		fmt.Println(text)
	}
	return err
}

func table(rows func(w *tabwriter.Writer)) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 4, ' ', 0)
	rows(w)
	return w.Flush()
}

func short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(13, len(id))]
}
