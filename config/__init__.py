import gc

# By default Python looks for garbage at every 700 new objects: a tenth of each start, where an import makes nothing but
# what lasts.
gc.set_threshold(20_000)
