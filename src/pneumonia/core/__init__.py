"""What every room and every stage needs: errors, params, files, processor cores, the command line.

It imports no other room. `config` has the schema of `params.yaml`; `errors` has the errors that a
user reads as one line; `files` has atomic outputs and checksums; `parallel` has cores and Ray;
`stage` has the code that the files in `stages/` share. Begin with `stage`.
"""
