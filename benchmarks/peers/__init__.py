"""The same jobs done with other tools, each as its own documentation would have it done."""
