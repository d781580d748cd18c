"""The HTML reports: one file each, without any reference to the network. A geometry number never stands without motion."""
