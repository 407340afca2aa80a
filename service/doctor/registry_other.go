//go:build !windows

package doctor

func registryValue(string, string) string { return "" }
