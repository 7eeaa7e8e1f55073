-- Add a node's answer to those that somebody collects.
--
-- KEYS[1]  {prefix}:inspection:<name>     the answers, a list
-- ARGV     answer, seconds for which answers are kept

redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
