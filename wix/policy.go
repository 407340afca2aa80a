package wix

import _ "embed" // the files beside

//go:embed lanyard.admx
var admx []byte

//go:embed lanyard.adml
var adml []byte

// Policies are the policy template for Group Policy and Intune, by file name; the .adml belongs into the folder en-US.
func Policies() map[string][]byte {
	return map[string][]byte{"lanyard.admx": admx, "lanyard.adml": adml}
}
