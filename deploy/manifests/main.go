// Reads manifests as a cluster does, and refuses what one would: kinds, fields and types that Kubernetes does not have.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

// The kinds of the Prometheus operator, which Kubernetes itself does not have.
const foreign = "monitoring.coreos.com/"

func main() {
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	manifests := 0
	for _, path := range os.Args[1:] {
		count, err := check(decoder, path)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", path, err)
			os.Exit(1)
		}
		manifests += count
	}
	if manifests == 0 {
		fmt.Fprintln(os.Stderr, "there is no manifest")
		os.Exit(1)
	}
	fmt.Printf("%d manifests in %d files\n", manifests, len(os.Args)-1)
}

// check says how many manifests a file has, all of which a cluster would take.
func check(decoder runtime.Decoder, path string) (int, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for count := 0; ; count++ {
		manifest, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return count, nil
		}
		if err != nil {
			return count, err
		}
		if len(bytes.TrimSpace(manifest)) == 0 {
			count--
			continue
		}
		_, _, err = decoder.Decode(manifest, nil, nil)
		if runtime.IsNotRegisteredError(err) && bytes.Contains(manifest, []byte("\napiVersion: "+foreign)) {
			continue
		}
		if err != nil {
			return count, fmt.Errorf("manifest %d: %w", count+1, err)
		}
	}
}
