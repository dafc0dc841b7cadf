"""Control of the rollout; the permissions of its pages, forms and API."""

SEE_ROLLOUT = "rollout.view_rollout"
OPERATE = "rollout.operate_rollout"
FORCE = "rollout.force_rollout"
STOP = "rollout.stop_rollout"
