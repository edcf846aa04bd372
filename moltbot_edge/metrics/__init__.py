"""What is counted, and how Prometheus reads it. No metric is counted here: the parts do, in the cells they hold.

instruments   counters, gauges and histograms, cheap to change
catalogue     `Metrics`: every metric by name, with help, labels and buckets
exposition    the text format
process       this process's own figures, read when asked for
"""
