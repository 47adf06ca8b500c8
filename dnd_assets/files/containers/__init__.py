"""Files and buckets that hold many pictures: shards, tables, S3, slides; and where a picture lies.

A picture inside a file has the path of that file followed by its own: `train-000.tar/0001.jpg`,
`train.parquet/image/12`. What reads a picture's bytes goes through `places`, so that nothing else
has to know where it lies.
"""
