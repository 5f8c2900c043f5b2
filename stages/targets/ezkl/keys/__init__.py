"""Keys and the structured reference strings they are made from, in this clone's own store."""
