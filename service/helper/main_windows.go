// Command lanyard-helper is for other systems: on Windows lanyard does its own work.
package main

import "os"

func main() { os.Exit(127) }
