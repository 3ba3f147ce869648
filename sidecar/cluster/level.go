//go:build !nextlevel

package cluster

// Level is the highest format level that this build speaks. A command says which level it needs, and a node
// that meets a higher one does not guess.
//
//	1   all that was written before there were levels
//	2   catalogs of drained data may name files of the WAL that were adopted (topic.AdoptionLevel); images,
//	    commands and frames are laid out as at level 1
//	3   catalogs of drained data may tell the producers of a log in fewer bytes (topic.TerseLevel)
//	4   catalogs of drained data may tell of many batches together (topic.HeadLevel)
//
// What is written in another way gets a level of its own: from then on builds know both ways, and write
// the new one where the image says that the level is finalized.
const Level = 4
