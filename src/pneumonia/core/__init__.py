"""What every room and every stage needs: errors, params, files, processor cores, the command line.

Imports no other room. `config` has the schema of `params.yaml`, `errors` the errors that a user
reads as one line, `files` atomic outputs and checksums, `parallel` cores and Ray, and `stage` what
the files in `stages/` share. Begin with `stage`.
"""
