"""Control of the rollout. The constants are the permissions that its pages, forms and API require."""

SEE_ROLLOUT = "rollout.view_rollout"
OPERATE = "rollout.operate_rollout"
FORCE = "rollout.force_rollout"
STOP = "rollout.stop_rollout"
