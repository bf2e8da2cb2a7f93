// What GitOps tools make of our objects: Flux's own libraries, and Argo CD's virtual machine for health checks.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/ssa"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const usage = `usage: gitops COMMAND <OBJECT.json

  kstatus            what kstatus computes of the object
  argocd HEALTH.lua  what Argo CD's health script says of the object
  apply              applies the object as Flux's kustomize-controller does, and prints what changed
  wait TIMEOUT       waits as Flux's kustomize-controller does, until the object is ready or has failed

apply and wait take the cluster from KUBECONFIG.`

// The verdict on one object.
type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return errors.New(usage)
	}
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	// As a client of the API server reads it: whole numbers stay whole.
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(text); err != nil {
		return err
	}
	switch {
	case arguments[0] == "kstatus" && len(arguments) == 1:
		result, err := status.Compute(object)
		if err != nil {
			return err
		}
		return print(verdict{result.Status.String(), result.Message})
	case arguments[0] == "argocd" && len(arguments) == 2:
		script, err := os.ReadFile(arguments[1])
		if err != nil {
			return err
		}
		health, err := healthByScript(object, string(script))
		if err != nil {
			return err
		}
		return print(health)
	case arguments[0] == "apply" && len(arguments) == 1:
		manager, err := newManager()
		if err != nil {
			return err
		}
		entry, err := manager.Apply(context.Background(), object, ssa.DefaultApplyOptions())
		if err != nil {
			return err
		}
		fmt.Println(entry.Action)
		return nil
	case arguments[0] == "wait" && len(arguments) == 2:
		timeout, err := time.ParseDuration(arguments[1])
		if err != nil {
			return err
		}
		manager, err := newManager()
		if err != nil {
			return err
		}
		options := ssa.WaitOptions{Interval: 200 * time.Millisecond, Timeout: timeout, FailFast: true}
		return manager.Wait([]*unstructured.Unstructured{object}, options)
	default:
		return errors.New(usage)
	}
}

func print(value any) error {
	return json.NewEncoder(os.Stdout).Encode(value)
}

// A manager of resources as kustomize-controller has one.
func newManager() (*ssa.ResourceManager, error) {
	// What it has to say is in its errors.
	log.SetLogger(log.Log.WithSink(nil))
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return nil, err
	}
	kubernetes, err := client.New(config, client.Options{})
	if err != nil {
		return nil, err
	}
	poller := polling.NewStatusPoller(kubernetes, kubernetes.RESTMapper(), polling.Options{})
	owner := ssa.Owner{Field: "kustomize-controller", Group: "kustomize.toolkit.fluxcd.io"}
	return ssa.NewResourceManager(kubernetes, poller, owner), nil
}
