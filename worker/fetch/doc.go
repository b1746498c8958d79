// Package fetch brings files of providers to this machine.
package fetch
