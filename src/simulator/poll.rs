//! `GET /task/{id}`: how a task is, and once it is done, a fresh link each time.

use axum::http::{HeaderMap, header};
use serde_json::json;

use super::answer::{self, Answer};
use super::faults::{Action, Manner, Moment, On, PollFault};
use super::film::gzip;
use super::routes::{Reply, Silence, Visit, header_text, unix_seconds};
use super::sending::Ending;
use super::world::{self, Status, Task};

/// Stands for path and query of the right link in a wrong one.
const PATH: &str = "$PATH";

impl Visit<'_> {
    pub(super) async fn poll(&self, task_id: &str, headers: &HeaderMap) -> Reply {
        self.note(|request| request.task_id = Some(task_id.to_owned()));
        if !self.is_let_in(headers) {
            return Ok(self.send(self.not_let_in()));
        }
        if let Err(code) = self.shared.change(world::World::admit) {
            return Ok(self.send(self.limited(code)));
        }
        let (task, fault) = self.shared.change(|world| {
            let task = world.note_poll(task_id);
            let prompt = task.as_ref().map_or("", |task| task.prompt.as_str());
            let done = task.as_ref().is_some_and(|task| task.status() == Status::Done);
            let fault = world.fates.of_task(On::Poll, prompt, done);
            (task, fault)
        });
        let (action, manner) = match fault {
            None => (Action::Wait, Manner::default()),
            Some(fault) => {
                tokio::time::sleep(fault.delay).await;
                let link = task.as_ref().map_or(String::new(), |task| self.link_to(task, headers));
                if let Some(answer) = self.refusal(&fault, &link) {
                    return Ok(fault.manner.dress(self.send(answer)));
                }
                (fault.action, fault.manner)
            }
        };
        self.tell(task.as_ref(), headers, action).await.map(|response| manner.dress(response))
    }

    async fn tell(&self, task: Option<&Task>, headers: &HeaderMap, action: Action) -> Reply {
        match action {
            Action::Close(_) => Err(Silence),
            Action::Hang(Moment::Head | Moment::Body) => self.hang().await,
            Action::Hang(Moment::Half | Moment::Accepted) => {
                let answer = self.progress(task, headers, None);
                let half = answer.body.len() as u64 / 2;
                Ok(self.send_part(answer, half, Ending::Stall))
            }
            Action::Cut(bytes) => Ok(self.send_part(self.progress(task, headers, None), bytes, Ending::Break)),
            Action::Blanks(bytes) => Ok(self.send_with_blanks(self.progress(task, headers, None), bytes)),
            Action::Drip(rate) => Ok(self.send_slowly(self.progress(task, headers, None), rate)),
            Action::Gzip => {
                let mut answer = self.progress(task, headers, None).with(header::CONTENT_ENCODING, "gzip");
                answer.body = gzip(&answer.body);
                Ok(self.send(answer))
            }
            Action::Raw(words) => Ok(self.say_instead(&words)),
            Action::Poll(fault) => Ok(self.send(self.progress(task, headers, Some(fault)))),
            // An answer was given before; the others are not for polls.
            Action::Wait
            | Action::Code { .. }
            | Action::Status { .. }
            | Action::Accept { .. }
            | Action::Download(_) => Ok(self.send(self.progress(task, headers, None))),
        }
    }

    fn progress(&self, task: Option<&Task>, headers: &HeaderMap, fault: Option<PollFault>) -> Answer {
        let request_id = &self.request_id;
        let say = |word: &str| answer::progress(word, "", "", request_id);
        let task = match (task, &fault) {
            (_, Some(PollFault::Word(word))) => return say(word),
            (None, _) => return say(Status::NotFound.label()),
            (Some(task), _) => task,
        };
        match task.status() {
            Status::Failed(code) => answer::business(code, request_id),
            Status::Done => {
                let path = self.path_to(task);
                let link = || self.link_to(task, headers);
                let (video_url, inner) = match fault {
                    Some(PollFault::NoLink) => (String::new(), None),
                    Some(PollFault::LinkInRespData) => (String::new(), Some(link())),
                    Some(PollFault::Link(other)) => (other.replace(PATH, &path), None),
                    Some(PollFault::Word(_)) | None => (link(), None),
                };
                answer::progress(Status::Done.label(), &video_url, &resp_data(task, inner.as_deref()), request_id)
            }
            status @ (Status::InQueue | Status::Generating | Status::NotFound) => say(status.label()),
        }
    }

    /// A fresh link to the task's video.
    pub(super) fn link_to(&self, task: &Task, headers: &HeaderMap) -> String {
        format!("{}{}", self.links(headers), self.path_to(task))
    }

    /// Path and query of a fresh link.
    fn path_to(&self, task: &Task) -> String {
        let now = unix_seconds();
        let expires = now + self.shared.settings.link_life.as_secs();
        self.shared.signer.sign(&task.task_id, now, expires, &self.request_id)
    }

    /// What comes before the path of a link.
    fn links(&self, headers: &HeaderMap) -> String {
        match (&self.shared.settings.links, header_text(headers, header::HOST)) {
            (Some(links), _) => links.clone(),
            (None, Some(host)) => format!("http://{host}"),
            (None, None) => format!("http://{}", self.shared.address),
        }
    }
}

fn resp_data(task: &Task, link: Option<&str>) -> String {
    let mut data = json!({"infer_ctx": {
        "algorithm_key": "jimengd_simulator_vgfm_i2v",
        "params": {
            "aspect_ratio": task.aspect_ratio, "fps": 24, "frames": 121, "negative_prompt": "",
            "ori_prompt": task.prompt, "seed": task.used_seed(),
            "output_width": task.format.width, "output_height": task.format.height,
        },
    }});
    if let Some(link) = link {
        data["urls"] = json!([link]);
    }
    data.to_string()
}
