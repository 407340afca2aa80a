package doctor

import "golang.org/x/sys/windows/registry"

// registryValue reads a string of the person's hive, or else of the machine's; "" as value asks whether the key is there.
func registryValue(key, value string) string {
	for _, hive := range []registry.Key{registry.CURRENT_USER, registry.LOCAL_MACHINE} {
		k, err := registry.OpenKey(hive, key, registry.QUERY_VALUE|registry.WOW64_64KEY)
		if err != nil {
			continue
		}
		s, _, err := k.GetStringValue(value)
		k.Close()
		if value == "" {
			return key
		}
		if err == nil && s != "" {
			return s
		}
	}
	return ""
}
