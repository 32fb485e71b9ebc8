package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/cri-api/pkg/apis/runtime/v1"
)

func (c client) version(ctx context.Context) error {
	r, err := c.runtime.Version(ctx, "v1")
	if err != nil {
		return err
	}
	fmt.Printf("Version:  %s\nRuntimeName:  %s\nRuntimeVersion:  %s\nRuntimeApiVersion:  %s\n",
		r.Version, r.RuntimeName, r.RuntimeVersion, r.RuntimeApiVersion)
	return nil
}

func (c client) info(ctx context.Context) error {
	r, err := c.runtime.Status(ctx, true)
	if err != nil {
		return err
	}
	status, err := protoJSON.MarshalToString(r.Status)
	if err != nil {
		return err
	}
	all := map[string]any{"status": json.RawMessage(status)}
	for key, text := range r.Info {
		var value any
		if json.Unmarshal([]byte(text), &value) != nil {
			value = text
		}
		all[key] = value
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(all)
}

func (c client) ps(ctx context.Context, o options) error {
	filter := &v1.ContainerFilter{}
	if !o.all {
		filter.State = &v1.ContainerStateValue{State: v1.ContainerState_CONTAINER_RUNNING}
	}
	list, err := c.runtime.ListContainers(ctx, filter)
	if err != nil {
		return err
	}
	kept := list[:0]
	for _, item := range list {
		if o.name == "" || strings.Contains(item.Metadata.Name, o.name) {
			kept = append(kept, item)
		}
	}
	if o.output == "json" {
		return printJSON(&v1.ListContainersResponse{Containers: kept})
	}
	return table(func(w *tabwriter.Writer) {
		if !o.quiet {
			fmt.Fprintln(w, "CONTAINER\tIMAGE\tCREATED\tSTATE\tNAME\tATTEMPT\tPOD ID\tPOD")
		}
		for _, i := range kept {
			if o.quiet {
				fmt.Fprintln(w, i.Id)
				continue
			}
			state := strings.TrimPrefix(i.State.String(), "CONTAINER_")
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", short(i.Id), short(i.Image.Image), age(i.CreatedAt),
				state[:1]+strings.ToLower(state[1:]), i.Metadata.Name, i.Metadata.Attempt, short(i.PodSandboxId),
				i.Labels["io.kubernetes.pod.name"])
		}
	})
}

func (c client) pods(ctx context.Context, o options) error {
	list, err := c.runtime.ListPodSandbox(ctx, &v1.PodSandboxFilter{})
	if err != nil {
		return err
	}
	kept := list[:0]
	for _, item := range list {
		if o.name == "" || strings.Contains(item.Metadata.Name, o.name) {
			kept = append(kept, item)
		}
	}
	if o.output == "json" {
		return printJSON(&v1.ListPodSandboxResponse{Items: kept})
	}
	return table(func(w *tabwriter.Writer) {
		if !o.quiet {
			fmt.Fprintln(w, "POD ID\tCREATED\tSTATE\tNAME\tNAMESPACE\tATTEMPT\tRUNTIME")
		}
		for _, i := range kept {
			if o.quiet {
				fmt.Fprintln(w, i.Id)
				continue
			}
			state := strings.TrimPrefix(i.State.String(), "SANDBOX_")
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t(default)\n", short(i.Id), age(i.CreatedAt),
				state[:1]+strings.ToLower(state[1:]), i.Metadata.Name, i.Metadata.Namespace, i.Metadata.Attempt)
		}
	})
}

func (c client) listImages(ctx context.Context, o options) error {
	list, err := c.images.ListImages(ctx, nil)
	if err != nil {
		return err
	}
	if o.output == "json" {
		return printJSON(&v1.ListImagesResponse{Images: list})
	}
	return table(func(w *tabwriter.Writer) {
		if !o.quiet {
			fmt.Fprintln(w, "IMAGE\tTAG\tIMAGE ID\tSIZE")
		}
		for _, i := range list {
			if o.quiet {
				fmt.Fprintln(w, i.Id)
				continue
			}
			for _, tag := range append(i.RepoTags, untagged(i)...) {
				cut := strings.LastIndex(tag, ":")
				fmt.Fprintf(w, "%s\t%s\t%s\t%.1fMB\n", tag[:cut], tag[cut+1:], short(i.Id), float64(i.Size_)/1e6)
			}
		}
	})
}

func untagged(i *v1.Image) []string {
	if len(i.RepoTags) > 0 {
		return nil
	}
	if len(i.RepoDigests) > 0 {
		return []string{strings.Split(i.RepoDigests[0], "@")[0] + ":<none>"}
	}
	return []string{"<none>:<none>"}
}

func (c client) inspectImage(ctx context.Context, name string) error {
	r, err := c.images.ImageStatus(ctx, &v1.ImageSpec{Image: name}, true)
	if err != nil {
		return err
	}
	if r.Image == nil {
		return fmt.Errorf("no such image %q present", name)
	}
	return printJSON(&v1.ImageStatusResponse{Image: r.Image})
}

func (c client) removeContainers(ctx context.Context, o options, ids []string) error {
	if o.all {
		list, err := c.runtime.ListContainers(ctx, nil)
		if err != nil {
			return err
		}
		for _, i := range list {
			ids = append(ids, i.Id)
		}
		if len(ids) == 0 {
			return nil
		}
	}
	return each(ids, done("%s\n", func(id string) error {
		if o.force {
			if err := c.runtime.StopContainer(ctx, id, 0); err != nil {
				return err
			}
		}
		return c.runtime.RemoveContainer(ctx, id)
	}))
}

func (c client) removePods(ctx context.Context, o options, ids []string) error {
	if o.all {
		list, err := c.runtime.ListPodSandbox(ctx, nil)
		if err != nil {
			return err
		}
		for _, i := range list {
			ids = append(ids, i.Id)
		}
		if len(ids) == 0 {
			return nil
		}
	}
	return each(ids, done("Removed sandbox %s\n", func(id string) error {
		if o.force {
			if err := c.runtime.StopPodSandbox(ctx, id); err != nil {
				return err
			}
		}
		return c.runtime.RemovePodSandbox(ctx, id)
	}))
}

func age(nanoseconds int64) string {
	return time.Since(time.Unix(0, nanoseconds)).Truncate(time.Second).String() + " ago"
}
