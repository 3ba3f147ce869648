// Package fsname knows how people call the file systems for which the system has numbers.
package fsname
