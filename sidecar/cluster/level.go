//go:build !nextlevel

package cluster

// Level is the highest format level that this build speaks. A command says which level it needs, and a node
// that meets a higher one does not guess.
//
//	1   all that was written up to now
//
// What is written in another way gets a level of its own: from then on builds know both ways, and write
// the new one where the image says that the level is finalized.
const Level = 1
