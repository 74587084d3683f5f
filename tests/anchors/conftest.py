"""Its being here puts this folder on the path: `import rollout_tree` in the folders below."""
