#!/bin/bash
#SBATCH --job-name=asrtune-job_0123456789ab-1
#SBATCH --output="/shared/my asr/100%%/jobs/job_0123456789ab/attempt_1/log.txt"
#SBATCH --open-mode=append
#SBATCH --no-requeue
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --time=1440
#SBATCH --signal=TERM@46

set -e
cd '/shared/my asr/100%/jobs/job_0123456789ab/attempt_1' || exit 78
for _ in $(seq 1200); do [ -e go ] && break; sleep 0.5; done
[ -e go ] || exit 75
exec srun --ntasks=1 --cpus-per-task=8 '--container-image=nvcr.io#nvidia/nemo:26.06' '--container-mounts=/shared/my asr/100%' '--container-workdir=/shared/my asr/100%/jobs/job_0123456789ab/attempt_1' python3 -P -m asrcore.model.train '/shared/my asr/100%/jobs/job_0123456789ab/attempt_1/request.json'
